// Package proc looks at processes and their descendants from outside, by /proc.
package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clockTick is the unit of processor time in /proc: 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// stat is what /proc/PID/stat says of one process.
type stat struct {
	parent int
	// cpu is its own processor time, children that of those that it has waited for.
	cpu, children time.Duration
}

func read(pid int) (stat, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 15 {
		return stat{}, false
	}
	n := make([]int, 15)
	for _, i := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.Atoi(f[i]); err != nil {
			return stat{}, false
		}
	}
	return stat{n[1], time.Duration(n[11]+n[12]) * clockTick, time.Duration(n[13]+n[14]) * clockTick}, true
}

// tree returns root and its living descendants.
func tree(root int) map[int]stat {
	all := map[int]stat{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if s, ok := read(pid); ok {
				all[pid] = s
			}
		}
	}
	out := map[int]stat{}
	for pid, s := range all {
		for at := pid; at > 1; at = all[at].parent {
			if at == root {
				out[pid] = s
				break
			}
		}
	}
	return out
}

// CPU is the processor time, of user and system, that the tree of processes below and with each root has used so far:
// the living ones and those that have ended and were waited for.
func CPU(roots ...int) (sum time.Duration) {
	for _, root := range roots {
		for _, s := range tree(root) {
			sum += s.cpu + s.children
		}
	}
	return sum
}

// Own is the processor time of one process, without any other.
func Own(pid int) time.Duration {
	s, _ := read(pid)
	return s.cpu
}

// Memory is what the trees hold in memory now: their proportional shares (PSS), so that what several processes have in
// common counts once; and of that the part that is not mapped from files.
func Memory(roots ...int) (pss, anon int64) {
	for _, root := range roots {
		for pid := range tree(root) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				continue // it has ended
			}
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) < 2 {
					continue
				}
				n, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil {
					continue
				}
				switch f[0] {
				case "Pss:":
					pss += n << 10
				case "Pss_Anon:":
					anon += n << 10
				}
			}
		}
	}
	return pss, anon
}

// Watch looks at the memory of trees again and again until its stop is called, which returns the most that was seen.
func Watch(every time.Duration, roots ...int) (stop func() (pss, anon int64)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var most, mostAnon int64
	look := func() {
		pss, anon := Memory(roots...)
		most, mostAnon = max(most, pss), max(mostAnon, anon)
	}
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			look()
			select {
			case <-t.C:
			case <-done:
				return
			}
		}
	})
	return func() (int64, int64) {
		close(done)
		wg.Wait()
		look()
		return most, mostAnon
	}
}

// Resident is the resident memory of one process, and the most that it was since it began or since ResetPeak.
func Resident(pid int) (now, most int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			most = n << 10
		}
	}
	return now, most
}

// ResetPeak makes what Resident calls the most begin anew.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
