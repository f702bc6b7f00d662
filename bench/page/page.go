// Package page keeps measured tables in pages of Markdown.
package page

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Replace puts text between the lines <!-- begin NAME --> and <!-- end NAME --> of a file.
func Replace(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, has := strings.Cut(string(old), begin)
	_, after, ends := strings.Cut(rest, end)
	if !has || !ends {
		return fmt.Errorf("%s has no lines %q and %q", file, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(file, []byte(before+begin+strings.TrimSpace(text)+"\n"+end+after), 0o644)
}

// Met is the word of a goal.
func Met(met bool) string {
	if met {
		return "met"
	}
	return "**not met**"
}

// Machine describes what is measured on: processors, kernel, what else runs, the file system of dir.
func Machine(dir string) string {
	model, kernel, load, memory := "?", "?", "?", "?"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	if f := fields("/proc/loadavg"); len(f) > 0 {
		load = f[0]
	}
	if f := fields("/proc/meminfo"); len(f) > 1 {
		memory = f[1]
	}
	fs := "?"
	if out, err := exec.Command("stat", "-f", "-c", "%T", dir).Output(); err == nil {
		fs = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s: %d processors (%s), %s KiB of memory, Linux %s, data on %s, %s; load average %s at the end.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), model, memory, kernel, fs, runtime.Version(), load)
}

func fields(file string) []string {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}
