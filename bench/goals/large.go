package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mxhook/bench/load"
	"mxhook/bench/proc"
	"mxhook/bench/server"
)

const megabyte = 1_000_000

// large measures goal 5: what a large mail takes, in memory and in time.
func (b *bench) large(ctx context.Context) error {
	sizes := []int{2, 8, 25, 50}
	mix := load.Mix{}
	for _, mb := range sizes {
		mix = append(mix, load.Portion{Size: mb * megabyte, Share: 1})
	}
	mails, err := mailsOf(mix)
	if err != nil {
		return err
	}
	in, out, err := b.memoryOfOne(ctx, mails[25*megabyte])
	if err != nil {
		return err
	}
	size := float64(len(mails[25*megabyte]))
	b.goal("5. memory for a mail of 25 MB on the way in", "≤ 1.5 × its size", float64(in) <= 1.5*size, "%.2f × (%d MB)", float64(in)/size, in/megabyte)
	b.goal("5. memory for it on the way out", "≤ 2.5 × its size", float64(out) <= 2.5*size, "%.2f × (%d MB)", float64(out)/size, out/megabyte)
	if err := b.costBySize(ctx, sizes, mails); err != nil {
		return err
	}
	return b.manyLarge(ctx, mails[25*megabyte])
}

// mailsOf makes a mail of each size. The DNS has another key than the one that they are signed with: a signature that fails
// has cost as much as one that does not.
func mailsOf(mix load.Mix) (map[int][]byte, error) {
	out := map[int][]byte{}
	for _, p := range mix {
		source, _, err := load.Signed(load.Mix{p})
		if err != nil {
			return nil, err
		}
		out[p.Size] = source(0)
	}
	return out, nil
}

// same sends one mail again and again, each time under another number.
func same(mail []byte) load.Source {
	_, rest, _ := strings.Cut(string(mail[:200]), "\r\n")
	body := mail[len(mail[:200])-len(rest):]
	return func(n int) []byte {
		return append(fmt.Appendf(nil, "%s: %d %d\r\n", load.SentField, time.Now().UnixNano(), n), body...)
	}
}

func send(ctx context.Context, s *server.Server, mail []byte, connections, count int) error {
	r := load.Run(ctx, load.Options{Addr: s.SMTP, Connections: connections, Source: same(mail)}, count)
	if r.Accepted < int64(count) {
		return fmt.Errorf("%d of %d mails were accepted: %s", r.Accepted, count, r.Reply)
	}
	return nil
}

// memoryOfOne is the peak above that of an idle process: of one that accepts a mail, and of one that finds it in its
// queue and delivers it.
func (b *bench) memoryOfOne(ctx context.Context, mail []byte) (in, out int64, err error) {
	const name = "large"
	s, err := b.start(b.self, name, "")
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(2 * time.Second)
	idle := rss(s.PID())
	if err = proc.ResetPeak(s.PID()); err == nil {
		err = send(ctx, s, mail, 1, 1)
	}
	in = peak(s.PID()) - idle
	s.Stop()
	if err != nil {
		return 0, 0, err
	}
	if s, err = b.start(b.bin, name, ""); err != nil {
		return 0, 0, err
	}
	err = b.arrive(ctx, name, 1, time.Minute)
	time.Sleep(300 * time.Millisecond)
	out = peak(s.PID())
	s.Stop()
	if err != nil {
		return 0, 0, err
	}
	if s, err = b.start(b.bin, name, ""); err != nil {
		return 0, 0, err
	}
	time.Sleep(2 * time.Second)
	out -= peak(s.PID())
	s.Stop()
	return in, out, nil
}

// costBySize sends mails of each size through the whole of mxhook.
func (b *bench) costBySize(ctx context.Context, sizes []int, mails map[int][]byte) error {
	s, err := b.start(b.bin, "sizes", "")
	if err != nil {
		return err
	}
	defer s.Stop()
	var perMB []float64
	text := "CPU of a large mail, by size:"
	total := int64(0)
	for _, mb := range sizes {
		count := max(3, 100/mb)
		used := proc.CPU(s.PID())
		if err := send(ctx, s, mails[mb*megabyte], 1, count); err != nil {
			return err
		}
		total += int64(count)
		if err := b.arrive(ctx, "sizes", total, time.Minute); err != nil {
			return err
		}
		cost := (proc.CPU(s.PID()) - used).Seconds() * 1000 / float64(count) // ms
		perMB = append(perMB, cost/float64(mb))
		text += fmt.Sprintf(" %d MB %.0f ms (%.1f ms a MB);", mb, cost, cost/float64(mb))
	}
	b.note("5. %s", strings.TrimSuffix(text, ";"))
	least, most := perMB[0], perMB[0]
	for _, v := range perMB {
		least, most = min(least, v), max(most, v)
	}
	b.goal("5. cost of a MB in mails of 2, 8, 25, 50 MB", "the same (± 15 %)", most <= least*1.35, "%.1f to %.1f ms", least, most)
	return nil
}

// manyLarge sends 40 mails of 25 MB at once.
func (b *bench) manyLarge(ctx context.Context, mail []byte) error {
	const name, count, limit = "many-large", 40, 256 * megabyte
	s, err := b.start(b.bin, name, "")
	if err != nil {
		return err
	}
	defer s.Stop()
	time.Sleep(2 * time.Second)
	idle := rss(s.PID())
	if err := send(ctx, s, mail, count, count); err != nil {
		return err
	}
	if err := b.arrive(ctx, name, count, 2*time.Minute); err != nil {
		return err
	}
	used := peak(s.PID()) - idle
	b.goal("5. 40 mails of 25 MB at once, above an idle process", "≤ limits.memory, 256 MB", used <= limit, "%d MB", used/megabyte)
	return os.RemoveAll(filepath.Join(b.dir, name))
}

func rss(pid int) int64 {
	now, _ := proc.Resident(pid)
	return now
}

func peak(pid int) int64 {
	_, most := proc.Resident(pid)
	return most
}
