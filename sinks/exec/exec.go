// Package exec is the sink that hands deliveries to a program on this machine.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"mxhook/pipeline"
)

// Options configures one sink.
type Options struct {
	// Command is the program, by its absolute path, and its arguments. No shell reads them.
	Command []string
	// Env are variables of the program, "NAME=value". It gets no other variable of ours than those that Deliver names.
	Env []string
	// Memory bounds the address space of each process of the program, in octets; 0 is no bound.
	Memory int64
	// Encode writes the payload; it must be set.
	Encode func(w io.Writer, d *pipeline.Delivery) error
}

// MinMemory is the least Options.Memory with which programs start.
const MinMemory = 16 << 20

// Exec is a pipeline.Sink with one program. Safe for concurrent use: each delivery is a process of its own.
type Exec struct {
	command  []string
	env      []string
	encode   func(w io.Writer, d *pipeline.Delivery) error
	redactor *strings.Replacer
	// longest is the length of the longest secret.
	longest int
	sweep   sync.Once
}

// New checks the options and returns the sink; it starts nothing.
func New(o Options) (*Exec, error) {
	switch {
	case len(o.Command) == 0 || o.Command[0] == "":
		return nil, errors.New("command is missing: name a program and its arguments, [/usr/local/bin/take-mail, --queue=in]")
	case !filepath.IsAbs(o.Command[0]):
		return nil, fmt.Errorf("command %q: name the program by its absolute path", o.Command[0])
	case o.Memory < 0 || o.Memory > 0 && o.Memory < MinMemory:
		return nil, fmt.Errorf("memory %d: set it to %d or more, or to 0 for no bound", o.Memory, MinMemory)
	case o.Encode == nil:
		return nil, errors.New("there is nothing to make the JSON with")
	}
	e := &Exec{command: o.Command, encode: o.Encode, env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}}
	var secrets []string
	for _, v := range o.Env {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" || strings.ContainsRune(v, 0) {
			return nil, errors.New("env: a variable is not of the form NAME=value")
		}
		if len(value) >= 4 {
			secrets = append(secrets, value, "[redacted]")
			e.longest = max(e.longest, len(value))
		}
	}
	e.env, e.redactor = append(e.env, o.Env...), strings.NewReplacer(secrets...)
	if o.Memory > 0 { // the shell sets the bound, and is then replaced by the program: nothing runs without it
		bound := "ulimit -v " + strconv.FormatInt(o.Memory>>10, 10) + ` && exec "$@"`
		e.command = append([]string{"/bin/sh", "-c", bound, "sh"}, o.Command...)
	}
	return e, nil
}

// Bounds of what is kept of the output: for the Response, and in an error.
const (
	maxDetail = 1 << 10
	maxReason = 300
	// settle is how long pipes may stay open when the program is gone.
	settle = time.Second
)

// Deliver implements pipeline.Sink: one run of the program. It finds the mail on its standard input, the payload in the
// file that MXHOOK_PAYLOAD names, and MXHOOK_DELIVERY_ID, MXHOOK_MESSAGE_ID, MXHOOK_SINK and MXHOOK_ATTEMPT. Its folder, with the payload,
// is removed when it is done; so is every process that it left in its process group.
func (e *Exec) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("run the program: %w", err)
	}
	e.sweep.Do(sweepFolders)
	dir, err := os.MkdirTemp("", folderPrefix)
	if err != nil {
		return pipeline.Response{}, fmt.Errorf("make a folder for the program: %w", err)
	}
	defer os.RemoveAll(dir)
	payload, mail := filepath.Join(dir, "payload.json"), filepath.Join(dir, "mail.eml")
	if err := writeFile(payload, func(w io.Writer) error { return e.encode(w, d) }); err != nil {
		return pipeline.Response{}, err
	}
	err = writeFile(mail, func(w io.Writer) error {
		_, err := io.Copy(w, d.Message.Mail())
		return err
	})
	if err != nil {
		return pipeline.Response{}, err
	}
	input, err := os.Open(mail) // a file, not a pipe: a program that does not read is not waited for
	if err != nil {
		return pipeline.Response{}, fmt.Errorf("open the mail: %w", err)
	}
	defer input.Close()
	output := &head{limit: maxDetail + e.longest} // so that no secret is cut before it is recognised
	cmd := exec.CommandContext(ctx, e.command[0], e.command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, input, output, output
	cmd.Env = append([]string{
		"HOME=" + dir, "MXHOOK_PAYLOAD=" + payload, "MXHOOK_DELIVERY_ID=" + variable(d.ID),
		"MXHOOK_MESSAGE_ID=" + variable(d.Message.Envelope.ID), "MXHOOK_SINK=" + d.Sink, "MXHOOK_ATTEMPT=" + strconv.Itoa(d.Attempt),
	}, e.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = settle
	if err := cmd.Start(); err != nil {
		return pipeline.Response{}, fmt.Errorf("start the program: %w", err)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind in its group
	return e.judge(ctx, cmd.ProcessState, err, e.redactor.Replace(output.String()))
}

// Exit codes of sysexits.h that are about the mail, and that no retry cures.
const (
	dataErr     = 65 // EX_DATAERR
	noUser      = 67 // EX_NOUSER
	noHost      = 68 // EX_NOHOST
	unavailable = 69 // EX_UNAVAILABLE

)

// judge says what the end of the program means. Codes that are about this machine (EX_USAGE, EX_CONFIG, a shell's 127, a
// signal) are cured here, and the deliveries wait until they are.
func (e *Exec) judge(ctx context.Context, state *os.ProcessState, err error, output string) (pipeline.Response, error) {
	output = strings.ToValidUTF8(output, "\uFFFD")
	if len(output) > maxDetail {
		output = strings.ToValidUTF8(output[:maxDetail], "")
	}
	resp := pipeline.Response{Status: state.String(), Detail: output}
	if state.Success() { // whether or not a process that it left kept the pipes open
		return resp, nil
	}
	if ctx.Err() != nil {
		return resp, fmt.Errorf("the program was ended: %w", ctx.Err())
	}
	reason := strings.TrimSpace(output)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	err = fmt.Errorf("the program ended with %w: %s", err, reason)
	switch state.ExitCode() {
	case dataErr, noUser, noHost, unavailable:
		return resp, pipeline.Permanent(err)
	}
	return resp, err
}

const (
	folderPrefix = "mxhook-exec-"
	// leftoverAge is more than any attempt takes.
	leftoverAge = time.Hour
)

// sweepFolders removes the folders of programs that a killed mxhook left.
func sweepFolders() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < leftoverAge {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() {
			_ = os.RemoveAll(dir) // what cannot be removed costs room only
		}
	}
}

// writeFile makes a file that only we can read.
func writeFile(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make a file for the program: %w", err)
	}
	err = fill(f)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write %s for the program: %w", filepath.Base(path), err)
	}
	return nil
}

// variable is a value without what a variable cannot hold.
func variable(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// head keeps the first octets that are written to it and drops the others, so that no program waits for a full pipe.
type head struct {
	limit int
	mu    sync.Mutex
	kept  []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
}

// String returns what was kept.
func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.kept)
}
