package proc

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// What a child has used counts while it runs, and goes on counting when it has ended.
func TestTimeOfChildrenCounts(t *testing.T) {
	before := CPU(os.Getpid())
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	until := time.Now().Add(time.Minute)
	for len(tree(cmd.Process.Pid)) < 2 {
		if time.Now().After(until) {
			t.Fatal("the child has no child")
		}
		time.Sleep(time.Millisecond)
	}
	running := CPU(cmd.Process.Pid)
	if running <= 0 || CPU(os.Getpid())-before < running {
		t.Errorf("the child has used %s, we with it %s", running, CPU(os.Getpid())-before)
	}
	for pid := range tree(cmd.Process.Pid) {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	_ = cmd.Wait() // it was killed
	if got := CPU(os.Getpid()) - before; got < running {
		t.Errorf("with the child that has ended we have used %s, want %s at least", got, running)
	}
}

func TestMemoryIsThatOfTheWholeTree(t *testing.T) {
	pss, anon := Memory(os.Getpid())
	now, most := Resident(os.Getpid())
	if anon <= 0 || pss < anon || now <= 0 || most < now {
		t.Errorf("pss %d, anonymous %d, resident %d, most %d", pss, anon, now, most)
	}
}
