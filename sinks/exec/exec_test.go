package exec

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
	"mxhook/sinks/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func encode(w io.Writer, d *pipeline.Delivery) error {
	return webhook.EncodePayload(w, d, webhook.PayloadOptions{})
}

// program is a sink that runs a script, with OUT as the folder for what it writes.
func program(t *testing.T, script string, change ...func(*Options)) (*Exec, string) {
	t.Helper()
	out := t.TempDir()
	o := Options{Command: []string{"/bin/sh", "-c", script}, Env: []string{"OUT=" + out, "TOKEN=a-t0ken/of ours"}, Encode: encode}
	for _, c := range change {
		c(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e, out
}

func TestExecKeepsTheContract(t *testing.T) {
	scripts := map[sinktest.Fault]string{
		sinktest.Healthy: `cat > "$OUT/$MXHOOK_DELIVERY_ID" && echo taken`,
		sinktest.Failing: `echo "no room for $TOKEN" >&2; exit 75`,
		sinktest.Gone:    `echo "no such user for $TOKEN" >&2; exit 67`,
		sinktest.Hanging: `sleep 600 & sleep 600`,
	}
	sinktest.Run(t, func(t *testing.T, fault sinktest.Fault) *sinktest.Instance {
		script, ok := scripts[fault]
		if !ok {
			return nil // no exit code asks for a delay
		}
		e, out := program(t, script, func(o *Options) { o.Memory = 1 << 30 })
		return &sinktest.Instance{
			Sink: e, Close: func() {}, Secrets: []string{"a-t0ken/of ours"},
			Copies: func(id string) int {
				if _, err := os.Stat(filepath.Join(out, id)); err != nil {
					return 0
				}
				return 1
			},
		}
	})
}

func TestAProgramGetsMailAndPayloadAndNoVariableOfOurs(t *testing.T) {
	t.Setenv("A_SECRET_OF_OURS", "x")
	e, out := program(t, `cat > "$OUT/mail"; cp "$MXHOOK_PAYLOAD" "$OUT/payload"; env > "$OUT/env"; pwd > "$OUT/pwd"; stat -c %a "$MXHOOK_PAYLOAD"`)
	d := sinktest.Samples()[1].Delivery
	resp, err := e.Deliver(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if want := (pipeline.Response{Status: "exit status 0", Detail: "600\n"}); resp != want {
		t.Errorf("response %+v, want %+v", resp, want)
	}
	read := func(name string) string {
		octets, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(octets)
	}
	mail, _ := io.ReadAll(d.Message.Mail())
	var payload strings.Builder
	if err := encode(&payload, d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(mail), payload.String()}, []string{read("mail"), read("payload")}); diff != "" {
		t.Error(diff)
	}
	var names []string
	for line := range strings.Lines(read("env")) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	for _, name := range names {
		switch name {
		case "PATH", "LANG", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "OUT", "TOKEN", "MXHOOK_PAYLOAD", "MXHOOK_DELIVERY_ID", "MXHOOK_MESSAGE_ID", "MXHOOK_SINK", "MXHOOK_ATTEMPT":
		default:
			t.Errorf("the program sees %s", name)
		}
	}
	if _, err := os.Stat(strings.TrimSpace(read("pwd"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program's folder is still there: %v", err)
	}
}

func TestExitCodesAreThoseOfSysexits(t *testing.T) {
	t.Parallel()
	for script, permanent := range map[string]bool{
		"exit 1": false, "exit 64": false, "exit 65": true, "exit 67": true, "exit 68": true, "exit 69": true, "exit 70": false,
		"exit 75": false, "exit 77": false, "exit 78": false, "exit 127": false, "kill -9 $$": false,
	} {
		e, _ := program(t, script)
		if _, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err == nil || pipeline.IsPermanent(err) != permanent {
			t.Errorf("%s: %v, permanent %v, want %v", script, err, pipeline.IsPermanent(err), permanent)
		}
	}
	gone, err := New(Options{Command: []string{"/nowhere/program"}, Encode: encode})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Deliver(t.Context(), sinktest.Samples()[0].Delivery); !errors.Is(err, os.ErrNotExist) || pipeline.IsPermanent(err) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestNothingOfAProgramIsLeft(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"at its end":      `sleep 600 & echo $! > "$OUT/pid"`,
		"at the deadline": `sleep 600 & echo $! > "$OUT/pid"; wait`,
	} {
		e, out := program(t, script)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		started := time.Now()
		_, err := e.Deliver(ctx, sinktest.Samples()[0].Delivery)
		cancel()
		if (err != nil) != (name == "at the deadline") {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(started))
		text, err := os.ReadFile(filepath.Join(out, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		gone := func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		}
		for deadline := time.Now().Add(10 * time.Second); !gone(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the process %d is still there", name, pid)
			}
		}
	}
}

func TestMemoryAndOutputAreBounded(t *testing.T) {
	t.Parallel()
	hungry := `dd if=/dev/zero of=/dev/null bs=256M count=1 2>&1 && echo had it`
	e, _ := program(t, hungry)
	if resp, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err != nil || !strings.Contains(resp.Detail, "had it") {
		t.Fatalf("without a bound: %+v, %v", resp, err)
	}
	e, _ = program(t, hungry, func(o *Options) { o.Memory = 64 << 20 })
	if resp, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err == nil {
		t.Errorf("with a bound: %+v", resp)
	}
	e, _ = program(t, `dd if=/dev/zero bs=1M count=8 2>/dev/null`)
	resp, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery)
	if err != nil || len(resp.Detail) != maxDetail {
		t.Errorf("8 MiB of output: %d octets kept, %v", len(resp.Detail), err)
	}
}

func TestSecretsAreCutOutAlsoWhereTheOutputEnds(t *testing.T) {
	t.Parallel()
	for _, before := range []int{maxDetail - 1, maxDetail - 5, maxDetail - 20} {
		e, _ := program(t, `head -c `+strconv.Itoa(before)+` /dev/zero | tr '\0' x; echo "$TOKEN and more"`)
		resp, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery)
		if err != nil || strings.Contains(resp.Detail, "a-t0") || len(resp.Detail) > maxDetail {
			t.Errorf("behind %d octets: %v, %q", before, err, resp.Detail[min(before, len(resp.Detail)):])
		}
	}
}

func TestFoldersThatAKilledProcessLeftAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old, young := filepath.Join(os.TempDir(), folderPrefix+"1"), filepath.Join(os.TempDir(), folderPrefix+"2")
	for _, dir := range []string{old, young} {
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * leftoverAge)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	e, _ := program(t, "true")
	if _, err := e.Deliver(t.Context(), sinktest.Samples()[0].Delivery); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); !cmp.Equal(left, []string{young}) {
		t.Errorf("left %v", left)
	}
}

func TestNewRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"command is missing":     {},
		`command "take-mail"`:    {Command: []string{"take-mail"}},
		"memory 1: set it to":    {Command: []string{"/bin/true"}, Memory: 1},
		"env: a variable is not": {Command: []string{"/bin/true"}, Env: []string{"TOKEN"}},
	} {
		o.Encode = encode
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
