package queue

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// powerCutEnv is the number of power cuts that TestPowerCut makes in each durability. It needs root, loop devices and
// mkfs.ext4, and is unset in an ordinary run.
const powerCutEnv = "MXHOOK_POWERCUT"

// powerCutDisk is a file system in memory, for the image of the disk that loses its power.
const powerCutDisk = "/dev/shm"

// powerCutRoom is the size of the disk in bytes; powerCutFull is what of it may be used before it is emptied.
const (
	powerCutRoom = 4 << 30
	powerCutFull = powerCutRoom / 2
)

// TestPowerCut stops a process under load, copies the disk as it is at that instant, kills the process, and reads the
// copy: what was in the page cache is gone. The next round goes on with the copy, so that the store ages from cut to
// cut. With fsync nothing that was committed may be missing; with os something has to be, or the cut is none and the
// test proves nothing.
func TestPowerCut(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv(powerCutEnv)) //nolint:errcheck // unset is none
	for _, durability := range []string{DurabilityFsync, DurabilityOS} {
		acked, lost := 0, 0
		if rounds > 0 {
			acked, lost = powerCuts(t, durability, rounds)
		}
		switch {
		case rounds == 0:
			t.Logf("durability %s: no power cuts, set %s to a number of rounds", durability, powerCutEnv)
		case acked < 20*rounds:
			t.Errorf("durability %s: only %d messages committed: the test proves nothing", durability, acked)
		case durability == DurabilityFsync && lost > 0:
			t.Errorf("%d of %d committed messages are lost", lost, acked)
		case durability == DurabilityOS && lost == 0:
			t.Errorf("none of %d messages is lost that were not synced: the cut is none", acked)
		}
		t.Logf("durability %s: %d power cuts, %d messages committed, %d lost", durability, rounds, acked, lost)
	}
}

// powerCuts makes cuts on one disk and returns how many messages were committed and how many of them are lost.
func powerCuts(t *testing.T, durability string, rounds int) (acked, lost int) {
	t.Helper()
	work, err := os.MkdirTemp(powerCutDisk, "mxhook-powercut-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) }) //nolint:errcheck // what stays is in memory
	disk := filepath.Join(work, "disk.img")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, powerCutRoom); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", disk)
	for round := range rounds {
		a, l := powerCut(t, durability, disk, filepath.Join(work, strconv.Itoa(round)))
		t.Logf("durability %s, cut %d: %d messages committed, %d lost", durability, round+1, a, l)
		acked, lost = acked+a, lost+l
	}
	return acked, lost
}

// powerCut makes one cut, after which the disk is what the cut has left.
func powerCut(t *testing.T, durability, disk, at string) (acked, lost int) {
	t.Helper()
	copied := at + ".img"
	unmount := mount(t, disk, at+"-before")
	child := startCrashChild(t, filepath.Join(at+"-before", "queue"), durability)
	eventually(t, "the child commits", func() bool { return strings.Contains(child.output(), "C ") })
	time.Sleep(2*time.Second + time.Duration(rand.IntN(2000))*time.Millisecond) // it is under load
	child.stop(t)
	command(t, "cp", "--sparse=always", disk, copied)
	printed := child.kill(t)
	unmount()

	committed, settled := map[string]string{}, map[string]bool{}
	for line := range strings.Lines(printed) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "C" && strings.HasSuffix(line, "\n"):
			committed[f[1]] = f[2]
		case len(f) == 2 && f[0] == "S":
			settled[f[1]] = true
		case len(f) > 0 && f[0] == "E":
			t.Errorf("the child: %s", line)
		}
	}
	unmount = mount(t, copied, at+"-after")
	q := mustOpen(t, embedded(t, filepath.Join(at+"-after", "queue")))
	_, _, ids := comeOut(t, q, committed, settled)
	tidy(t, q)
	if keys := headless(t, q); durability == DurabilityFsync && len(keys) > 0 {
		t.Errorf("parts without a head: %v", keys)
	}
	if used, _, _ := q.room(); used > powerCutFull {
		emptyMail(t, q)
	}
	closeQueue(t, q)
	unmount()
	if err := os.Rename(copied, disk); err != nil {
		t.Fatal(err)
	}
	return len(committed), len(ids)
}

// emptyMail makes room on a disk whose messages have all come out.
func emptyMail(t *testing.T, q *Queue) {
	t.Helper()
	l, err := q.current()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range l.mail() {
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// mount mounts an image. Its journal is written when a file is synced, and otherwise later than the test takes.
func mount(t *testing.T, image, at string) (unmount func()) {
	t.Helper()
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop,discard,commit=300", image, at)
	t.Cleanup(func() { exec.Command("umount", at).Run() }) //nolint:errcheck // a test that failed did not get there
	return func() {
		// What a purge has set aside is removed by a goroutine of the server's that nobody waits for.
		eventually(t, "the file system is not busy", func() bool { return exec.Command("umount", at).Run() == nil })
	}
}

// crashProcess is a child whose output is read all the time.
type crashProcess struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	out  bytes.Buffer
	done chan struct{}
}

func startCrashChild(t *testing.T, dir, durability string) *crashProcess {
	t.Helper()
	p := &crashProcess{cmd: exec.Command(os.Args[0], "-test.run=^$"), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashDurabilityEnv+"="+durability)
	p.cmd.Stderr = t.Output()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() }) //nolint:errcheck // it has ended, unless the test failed
	go func() {
		defer close(p.done)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			p.mu.Lock()
			io.WriteString(&p.out, line) //nolint:errcheck // it is memory
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *crashProcess) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// stop stops the child; on return all of its threads have stopped.
func (p *crashProcess) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all threads have stopped", func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		for _, name := range stats {
			text, rerr := os.ReadFile(name)
			_, state, _ := strings.Cut(string(text), ") ")
			if err == nil {
				err = rerr
			}
			if !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return err == nil && len(stats) > 0
	})
}

// kill ends the child and returns all that it printed.
func (p *crashProcess) kill(t *testing.T) string {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
	p.cmd.Wait() //nolint:errcheck // it was killed
	return p.output()
}
