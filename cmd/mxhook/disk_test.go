package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/emersion/go-smtp"

	"mxhook/cmd/mxhook/app/apptest"
)

// ownMountsEnv tells a test that it runs in a mount namespace of its own, as root of at least that.
const ownMountsEnv = "MXHOOK_TEST_OWN_MOUNTS"

// ownMounts returns true in a process that may mount what it likes, without anybody else seeing it: the first call runs
// the test once more in such a process, and its result is that of the test.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownMountsEnv) != "" {
		// What is mounted here must not reach the outside.
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatalf("keep the mounts private: %v", err)
		}
		return true
	}
	var started error
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), ownMountsEnv+"=1")
		cmd.SysProcAttr = attr
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			started = errors.Join(started, err)
			continue
		}
		err := cmd.Wait()
		t.Logf("in a mount namespace of its own:\n%s", out.String())
		if err != nil {
			t.Fail()
		}
		return false
	}
	t.Fatalf("this test needs a mount namespace: run it as root (CAP_SYS_ADMIN), or allow user namespaces: %v", started)
	return false
}

// persistent are senders that repeat what was not accepted, as mail servers do, and count the replies.
type persistent struct {
	accepted ledger
	// temporary are replies 451 and 452, others all other refusals, broken sessions that ended, with 421 or
	// without a reply.
	temporary, others, broken atomic.Int64
	mu                        sync.Mutex
	wrong                     map[string]int
	transactions              []transaction // those that were accepted
	stop                      func()
}

// transaction is the time that a mail which was accepted took.
type transaction struct{ began, ended time.Time }

func sendPersistently(t *testing.T, addr func() string, senders int, size func(n int) int) *persistent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &persistent{wrong: map[string]int{}}
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n += senders {
				mail := apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("mail %d", n), size(n))}
				p.insist(ctx, addr, mail)
			}
		})
	}
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(p.stop)
	return p
}

// sendSteadily sends a mail in every interval, whatever becomes of those before it: as senders do that know nothing of each
// other.
func sendSteadily(t *testing.T, addr func() string, every time.Duration, size func(n int) int) *persistent {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &persistent{wrong: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			mail := apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: apptest.Text(fmt.Sprintf("mail %d", n), size(n))}
			wg.Go(func() { p.insist(ctx, addr, mail) })
		}
	})
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(p.stop)
	return p
}

// insist sends a mail until it is accepted.
func (p *persistent) insist(ctx context.Context, addr func() string, mail apptest.Mail) {
	for ctx.Err() == nil && !p.once(addr(), mail) {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *persistent) once(addr string, mail apptest.Mail) bool {
	began := time.Now()
	id, err := apptest.SendOne(addr, mail)
	if id != "" {
		p.accepted.add(id)
		p.mu.Lock()
		p.transactions = append(p.transactions, transaction{began, time.Now()})
		p.mu.Unlock()
		return true
	}
	var reply *smtp.SMTPError
	switch {
	case !errors.As(err, &reply), reply.Code == 421: // a shutdown
		p.broken.Add(1)
	case reply.Code == 451 || reply.Code == 452:
		p.temporary.Add(1)
	default:
		p.others.Add(1)
		p.mu.Lock()
		p.wrong[reply.Error()]++
		p.mu.Unlock()
	}
	return false
}

// since returns the accepted transactions that began after a time, in the order of their replies.
func (p *persistent) since(t time.Time) []transaction {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.transactions), func(tr transaction) bool { return tr.began.Before(t) })
}

// settled waits for the deliveries of everything that was accepted, and says what there was.
func (p *persistent) settled(t *testing.T, e *apptest.Endpoint, sinks ...string) {
	t.Helper()
	missing := p.accepted.missing(e, sinks...)
	for deadline := time.Now().Add(3 * time.Minute); len(missing) > 0 && time.Now().Before(deadline); {
		<-time.After(200 * time.Millisecond)
		missing = p.accepted.missing(e, sinks...)
	}
	t.Logf("accepted %d, refused with 451 or 452 %d, with anything else %d, sessions that ended %d, lost %d",
		p.accepted.count(), p.temporary.Load(), p.others.Load(), p.broken.Load(), len(missing))
	if len(missing) > 0 {
		t.Errorf("lost: %v", missing[:min(10, len(missing))])
	}
	if p.others.Load() > 0 {
		t.Errorf("refusals that a sender does not repeat, or should not hear: %v", p.wrong)
	}
}

// grows waits until a counter has grown by n.
func grows(t *testing.T, what string, p *apptest.Process, n int64, count func() int64) {
	t.Helper()
	want := count() + n
	for deadline := time.Now().Add(2 * time.Minute); count() < want; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d of %d\n%s", what, count(), want, p.Log())
		}
	}
}

// A disk that somebody else fills up: mail is refused for the time being, nothing that was accepted is lost, and when
// there is room again the instance goes on by itself.
func TestAFullDiskRefusesAndGoesOn(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=384m"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	defer syscall.Unmount(data, syscall.MNT_DETACH) //nolint:errcheck // the namespace ends anyway
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint, Dir: dir})
	p.Start()
	// Some mails are large, so that the disk fills up while their parts are stored.
	senders := sendPersistently(t, p.SMTP, 8, func(n int) int { return []int{2_000, 10_000, 5_000, 700_000}[n%4] })
	accepted := func() int64 { return int64(senders.accepted.count()) }
	for range 2 {
		grows(t, "mail before the disk is full", p, 100, accepted)
		ballast := filepath.Join(data, "ballast")
		fillUp(t, ballast)
		grows(t, "refusals while the disk is full", p, 100, senders.temporary.Load)
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		freed := time.Now()
		grows(t, "mail when there is room again", p, 50, accepted)
		t.Logf("50 mails were accepted within %v of the room coming back", time.Since(freed).Round(100*time.Millisecond))
	}
	senders.stop()
	senders.settled(t, endpoint, "hook")
}

// fillUp writes a file until there is no room for one octet more, and keeps it so for a moment against what is freed.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// diskFaultsEnv asks for the test with a disk that fails, which takes root, a loop device and mkfs.ext4.
const diskFaultsEnv = "MXHOOK_DISKFAULTS"

// A disk that fails: the file system answers every access with an error from one moment to the next. Mail is refused for
// the time being; mxhook lets go of the volume, so that it can be mounted again, and goes on by itself then.
func TestABrokenDiskRefusesAndGoesOn(t *testing.T) {
	if os.Getenv(diskFaultsEnv) == "" {
		t.Logf("no disk fails: set %s=1 for that, as root", diskFaultsEnv)
		return
	}
	if !ownMounts(t) {
		return
	}
	dir := t.TempDir()
	data, image := filepath.Join(dir, "data"), filepath.Join(dir, "disk.img")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 1<<30); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", image)
	mount := func() { command(t, "mount", "-o", "loop", image, data) }
	mount()
	defer exec.Command("umount", "-l", data).Run() //nolint:errcheck // it may be mounted or not
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint, Dir: dir})
	p.Start()
	senders := sendPersistently(t, p.SMTP, 8, func(n int) int { return 2_000 << (n % 6) })
	accepted := func() int64 { return int64(senders.accepted.count()) }
	faults := []struct {
		name  string
		fault func()
	}{
		{"I/O error", func() { goDown(t, data) }},
		{"read-only", func() { command(t, "mount", "-o", "remount,abort", data) }},
	}
	for _, f := range faults {
		grows(t, "mail before the fault", p, 100, accepted)
		f.fault()
		grows(t, f.name+": refusals", p, 100, senders.temporary.Load)
		before := accepted()
		apptest.WaitUntil(t, f.name+": mxhook lets go of the volume", func() bool { return exec.Command("umount", data).Run() == nil })
		grows(t, f.name+": refusals without the volume", p, 100, senders.temporary.Load)
		if n := accepted() - before; n > 0 {
			t.Errorf("%s: %d mails were accepted without a volume", f.name, n)
		}
		exec.Command("e2fsck", "-fy", image).Run() //nolint:errcheck // its status says that it has repaired something
		mount()
		back := time.Now()
		grows(t, f.name+": mail when the volume is back", p, 50, accepted)
		t.Logf("%s: 50 mails were accepted within %v of the volume coming back", f.name, time.Since(back).Round(100*time.Millisecond))
	}
	senders.stop()
	senders.settled(t, endpoint, "hook")
	p.Terminate()
}

// goDown makes a file system answer everything with EIO, at once and without writing its journal.
func goDown(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	how := uint32(noLogFlush)
	if err := ioctl(f, shutdown, &how); err != nil {
		t.Fatalf("shut the file system down: %v", err)
	}
}

func ioctl(f *os.File, request uintptr, arg *uint32) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
		return errno
	}
	return nil
}
