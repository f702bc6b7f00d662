package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// dropStartPages takes the pages of the program's code out of this process that the start has mapped: most of it is never
// needed again. What is needed comes back from the page cache, some at a time. Only code, because no page of it is ever
// written to: of what a linker may have relocated there is no second copy. Without /proc it does nothing.
func dropStartPages() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		from, size, ok := codeOf(line, exe)
		if ok {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, size, syscall.MADV_DONTNEED) // else they stay
		}
	}
}

// codeOf reads a line of /proc/self/maps, and reports whether it is code of the program exe.
func codeOf(line []byte, exe string) (from, size uintptr, ok bool) {
	f := bytes.Fields(line)
	if len(f) != 6 || string(f[1]) != "r-xp" || string(f[5]) != exe {
		return 0, 0, false
	}
	a, b, _ := bytes.Cut(f[0], []byte("-"))
	start, err := strconv.ParseUint(string(a), 16, 64)
	if err != nil {
		return 0, 0, false
	}
	end, err := strconv.ParseUint(string(b), 16, 64)
	return uintptr(start), uintptr(end - start), err == nil && end > start
}
