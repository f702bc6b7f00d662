package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/bench/load"
	"mxhook/bench/proc"
	"mxhook/bench/server"
)

// scale measures goal 8. A queue of its own is filled by an instance that receives; then workers take mail out of it: one,
// with the queue and the endpoint beside it, all on one core; then two, each on a core of its own, with the queue and the
// endpoint on the same two. The work of a mail is the same, and the processors are twice as many.
func (b *bench) scale(ctx context.Context) error {
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("two workers on two cores need two cores")
	}
	n, err := b.startNATS(ctx)
	if err != nil {
		return err
	}
	defer n.stop()
	defer pin(os.Getpid(), "0-"+strconv.Itoa(runtime.NumCPU()-1)) //nolint:errcheck // it was there before
	var one, two []float64
	var notes []string
	for range b.rounds {
		for _, cores := range [][]string{{"0"}, {"0", "1"}} {
			rate, note, err := b.drainWith(ctx, n, cores)
			if err != nil {
				return err
			}
			if len(cores) == 1 {
				one = append(one, rate)
			} else {
				two = append(two, rate)
			}
			notes = append(notes, fmt.Sprintf("%d: %.0f /s (%s)", len(cores), rate, note))
		}
	}
	var ratios []float64
	for i := range one {
		ratios = append(ratios, two[i]/one[i])
	}
	slices.Sort(ratios)
	m := ratios[len(ratios)/2]
	b.goal("8. two workers on two cores against one on one, external NATS", "≥ 1.7 ×", m >= 1.7, "%.2f × (%.2f-%.2f)", m, ratios[0], ratios[len(ratios)-1])
	b.note("8. Mails in a second by the number of workers and cores: %s.", strings.Join(notes, "; "))
	return nil
}

// nats is a NATS server as a process of its own.
type nats struct {
	cmd *exec.Cmd
	url string
}

func (n *nats) stop() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (b *bench) startNATS(ctx context.Context) (*nats, error) {
	dir := filepath.Join(b.dir, "nats")
	bin := filepath.Join(dir, "nats-server")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("server_name: one\nlisten: %q\njetstream: {store_dir: %q, sync_interval: always}\nlog_file: %q\n", addr, filepath.Join(dir, "store"), filepath.Join(dir, "log"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	n := &nats{exec.Command(bin, "-c", config), "nats://" + addr}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return n, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.stop()
	return nil, fmt.Errorf("nats-server does not listen; see %s/log", dir)
}

// drainWith fills the queue and returns the rate at which a worker on each of the cores empties it.
func (b *bench) drainWith(ctx context.Context, n *nats, cores []string) (float64, string, error) {
	const name = "scale"
	seconds := 2 + b.length.Seconds() // of work, for as many mails as no two cores process
	queue := fmt.Sprintf("queue: {url: %q, replicas: 1, durability: fsync, shards: 4}", n.url)
	all := "0-" + strconv.Itoa(runtime.NumCPU()-1)
	for _, pid := range []int{os.Getpid(), n.cmd.Process.Pid} {
		if err := pin(pid, all); err != nil {
			return 0, "", err
		}
	}
	in, err := b.start(b.bin, name+"-in", queue, "--roles", "ingest")
	if err != nil {
		return 0, "", err
	}
	count := int(seconds * 2500 * float64(len(cores)))
	r := load.Run(ctx, load.Options{Addr: in.SMTP, Connections: 32, Source: b.source}, count)
	in.Stop()
	if r.Accepted < int64(count) {
		return 0, "", fmt.Errorf("%d of %d mails were accepted: %s", r.Accepted, count, r.Reply)
	}
	others := strings.Join(cores, ",") // the queue, and this process with the endpoint and the name server
	for _, pid := range []int{os.Getpid(), n.cmd.Process.Pid} {
		if err := pin(pid, others); err != nil {
			return 0, "", err
		}
	}
	var workers []*server.Server
	defer func() {
		for _, w := range workers {
			w.Stop()
		}
	}()
	before := b.delivered(name)
	for i, core := range cores {
		own := fmt.Sprintf("%s-%d", name, i)
		config := server.MainJob(filepath.Join(b.dir, own), b.url(own), b.names.Addr(), queue)
		// The slots of a sink are divided among the workers: with few of them that would be what is compared.
		config = strings.Replace(config, "allow_private: true}", "allow_private: true}\n    concurrency: 64", 1)
		w, err := b.startWith(b.bin, own, config, "--roles", "process")
		if err != nil {
			return 0, "", err
		}
		workers = append(workers, w)
		if err := pin(w.PID(), core); err != nil {
			return 0, "", err
		}
	}
	time.Sleep(2 * time.Second) // until they are warm
	pids := []int{n.cmd.Process.Pid, os.Getpid()}
	for _, w := range workers {
		pids = append(pids, w.PID())
	}
	used := make([]time.Duration, len(pids))
	for i, pid := range pids {
		used[i] = proc.Own(pid)
	}
	began, from := time.Now(), b.delivered(name)
	time.Sleep(b.length)
	took, done := time.Since(began), b.delivered(name)-from
	share := func(i int) float64 { return (proc.Own(pids[i]) - used[i]).Seconds() / took.Seconds() }
	workerShare := 0.
	for i := 2; i < len(pids); i++ {
		workerShare += share(i)
	}
	note := fmt.Sprintf("cores used: workers %.2f, NATS %.2f, endpoint %.2f", workerShare, share(0), share(1))
	if b.delivered(name)-before >= int64(count) {
		return 0, "", fmt.Errorf("all of %d mails were delivered before the measurement ended: they are too few", count)
	}
	if err := b.rest(ctx, name, before+int64(count)); err != nil {
		return 0, "", err
	}
	rate := float64(done) / took.Seconds()
	return rate, fmt.Sprintf("%s; worker CPU %.0f µs a mail", note, workerShare/max(rate, 1)*1e6), nil
}

// delivered adds up what the workers have delivered: each has an endpoint of its own.
func (b *bench) delivered(name string) (sum int64) {
	for i := range 2 {
		sum += b.hook.Counts(fmt.Sprintf("%s-%d", name, i)).Unique
	}
	return sum
}

// rest waits until what a round has left is delivered, so that the next one begins with an empty queue.
func (b *bench) rest(ctx context.Context, name string, want int64) error {
	for until := time.Now().Add(2 * time.Minute); b.delivered(name) < want; time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of %d mails were delivered", b.delivered(name), want)
		}
	}
	return nil
}

// pin lets a process, with all its threads, run on these cores only. A Go program adapts to their number by itself.
func pin(pid int, cores string) error {
	if out, err := exec.Command("taskset", "-a", "-p", "-c", cores, strconv.Itoa(pid)).CombinedOutput(); err != nil {
		return fmt.Errorf("taskset: %w\n%s", err, out)
	}
	return nil
}
