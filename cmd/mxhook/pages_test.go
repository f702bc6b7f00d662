package main

import (
	"bytes"
	"os"
	"strconv"
	"testing"
)

func TestCodeOfTheProgramIsFound(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"00400000-0173b000 r-xp 00000000 fe:00 9995917                            /usr/bin/mxhook\n":    true,
		"0173b000-02b08000 r--p 0133b000 fe:00 9995917                            /usr/bin/mxhook\n":    false,
		"02b08000-02c79000 rw-p 02708000 fe:00 9995917                            /usr/bin/mxhook\n":    false,
		"7f0000000000-7f0000001000 r-xp 00000000 fe:00 12                         /usr/lib/libc.so.6\n": false,
		"7ffd0000-7ffd2000 r-xp 00000000 00:00 0                                  [vdso]\n":             false,
		"00400000-00300000 r-xp 00000000 fe:00 9995917                            /usr/bin/mxhook\n":    false,
		"x-y r-xp 00000000 fe:00 9995917                                          /usr/bin/mxhook\n":    false,
		"\n": false,
	} {
		if from, size, ok := codeOf([]byte(line), "/usr/bin/mxhook"); ok != want || ok && (from != 0x400000 || size != 0x133b000) {
			t.Errorf("%q: %x, %x, %v", line, from, size, ok)
		}
	}
}

// Not in parallel: other tests would bring the pages back.
func TestPagesOfTheStartGo(t *testing.T) {
	before, ok := codeInMemory(t)
	if !ok {
		t.Log("no /proc here: nothing to drop")
		return
	}
	dropStartPages()
	after, _ := codeInMemory(t)
	t.Logf("code in memory: %d kB before, %d kB after", before, after)
	if after >= before {
		t.Errorf("%d kB of code are in memory, %d before", after, before)
	}
}

// codeInMemory returns how many kB of the program's code are in memory.
func codeInMemory(t *testing.T) (kb int, ok bool) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, false
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return 0, false
	}
	code := false
	for line := range bytes.Lines(smaps) {
		f := bytes.Fields(line)
		if len(f) >= 5 && bytes.Contains(f[0], []byte("-")) {
			_, _, code = codeOf(line, exe)
		}
		if code && len(f) == 3 && string(f[0]) == "Rss:" {
			n, err := strconv.Atoi(string(f[1]))
			if err != nil {
				t.Fatal(err)
			}
			kb += n
		}
	}
	return kb, true
}
