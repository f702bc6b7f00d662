package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/pipeline"
)

// mxhook runs one command inside the test and returns its exit code and what it wrote.
func mxhook(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestDemoOnceShowsFourVerifiedWebhooks(t *testing.T) {
	t.Parallel()
	code, out, stderr := mxhook(t, "demo", "--once")
	if code != exitFine {
		t.Fatalf("exit code %d\n%s\n%s", code, out, stderr)
	}
	if stderr != "" {
		t.Errorf("the demo is not quiet: %s", stderr)
	}
	for _, want := range []string{
		"the sender is example.org", "the sender is lamps.example", "the sender is shop.example", "the sender is not verified",
		"Invoice № 118.pdf (application/pdf", "ご注文の確認", "rule tickets → sink helpdesk", "rule invoices → sink accounting",
		"4 mails sent, 4 signed webhooks arrived and verified.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not show %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, "✔ genuine"); n != 4 {
		t.Errorf("%d genuine signatures shown, want 4", n)
	}
}

func TestExitCodesTellUsageFromProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		code int
		say  string
	}{
		{"", exitFine, "demo"},
		{"version", exitFine, "mxhook dev"},
		{"nonsense", exitUsage, "no command"},
		{"version --nonsense", exitUsage, "--help"},
		{"serve", exitUsage, "configs/minimal.yaml"},
		{"serve -c /does/not/exist.yaml", exitProblem, "/does/not/exist.yaml"},
		{"check", exitUsage, "-c FILE"},
		{"doctor", exitUsage, "-c FILE"},
		{"explain -c ../../configs/minimal.yaml", exitUsage, "--rcpt"},
		{"send", exitUsage, "--to"},
		{"dead nonsense", exitUsage, "list, show, replay and drop"},
		{"dead replay", exitUsage, "usage"},
		{"messages", exitUsage, "usage"},
		{"messages nonsense", exitUsage, "list, show, replay, drop, bury"},
		{"messages replay", exitUsage, "--all"},
		{"deliveries list --since yesterday", exitUsage, "neither a time"},
		{"deliveries drop", exitUsage, "usage"},
		{"queue migrate -c x.yaml", exitUsage, "both configurations"},
		{"listen --status 7", exitUsage, "no HTTP status"},
		{"listen --secret nonsense", exitUsage, "--secret"},
		{"parse /does/not/exist.eml", exitProblem, "exist.eml"},
		{"send --server 127.0.0.1:1 --to a@example.com", exitProblem, "is mxhook running"},
	} {
		code, stdout, stderr := mxhook(t, strings.Fields(tc.args)...)
		if code != tc.code || !strings.Contains(stdout+stderr, tc.say) {
			t.Errorf("mxhook %s: exit code %d, want %d; said %q%q, want %q", tc.args, code, tc.code, stdout, stderr, tc.say)
		}
	}
}

func TestARecipientMayHaveCommasAndQuotes(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := mxhook(t, "explain", "-c", "../../configs/minimal.yaml", "--rcpt", `"x, y"@example.com`, "samples/2-invoice.eml")
	if code != exitFine || !strings.Contains(stdout, `x, y`) || strings.Contains(stdout, "rejected") {
		t.Errorf("exit code %d, said %s%s", code, stdout, stderr)
	}
}

func TestParsePrintsDataMessage(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := mxhook(t, "parse", "--json", "samples/2-invoice.eml")
	if code != exitFine {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got struct {
		Message struct {
			Subject     string `json:"subject"`
			Text        string `json:"text"`
			Attachments []struct {
				Filename string `json:"filename"`
				Content  []byte `json:"content"`
			} `json:"attachments"`
		} `json:"message"`
		Problems []any `json:"problems"`
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Message.Subject != "Invoice 2026-118 for 12 desk lamps" || !strings.Contains(got.Message.Text, "€ 478.80") || got.Problems == nil {
		t.Errorf("message is %+v", got.Message)
	}
	if a := got.Message.Attachments; len(a) != 1 || !bytes.HasPrefix(a[0].Content, []byte("%PDF-1.4")) {
		t.Errorf("attachments are %+v", a)
	}
	if _, text, _ := mxhook(t, "parse", "samples/3-japanese.eml"); !strings.Contains(text, "ご注文ありがとうございます") {
		t.Errorf("the text form is %s", text)
	}
}

const trialConfig = `
domains: [{domain: example.com, recipients: ["ticket-*", sales]}]
sinks:
  - {name: desk, file: {dir: DIR/desk}}
  - {name: archive, file: {dir: DIR/archive}}
rules:
  - {name: tickets, when: 'recipient.local startsWith "ticket-"', to: [desk], stop: true}
  - {name: rest, to: [archive]}
dns: {servers: ["127.0.0.1:1"]}
tests:
  - {name: tickets reach the desk, mail: samples/4-forged.eml, recipient: ticket-1@example.com, expect: [EXPECT]}
`

func writeTrialConfig(t *testing.T, expect string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "mxhook.yaml")
	text := strings.NewReplacer("DIR", dir, "EXPECT", expect).Replace(trialConfig)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheckRunsTheTestsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	if code, stdout, stderr := mxhook(t, "check", "-c", writeTrialConfig(t, "desk")); code != exitFine || !strings.Contains(stdout, "1 tests passed") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, _, stderr := mxhook(t, "check", "-c", writeTrialConfig(t, "archive"))
	if code != exitProblem || !strings.Contains(stderr, "goes to [desk], expected [archive]") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestExplainTellsEachRuleAndRefusals(t *testing.T) {
	t.Parallel()
	file := writeTrialConfig(t, "desk")
	code, stdout, stderr := mxhook(t, "explain", "-c", file, "--rcpt", "sales@example.com", "samples/4-forged.eml")
	if code != exitFine || !regexp.MustCompile(`(?s)rule tickets: .*rule rest: .*archive`).MatchString(stdout) {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, _, stderr = mxhook(t, "explain", "-c", file, "--rcpt", "nobody@example.com", "samples/4-forged.eml")
	if code != exitProblem || !strings.Contains(stderr, "550 5.1.1") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What was delivered is found, previewed, replayed to its sink through the rules and directly, and dropped.
func TestKeptCommandsWorkOnARunningInstance(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	on := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := mxhook(t, append(args, "--api", i.Ops())...)
		if code != want {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
		return stdout
	}
	if code, _, stderr := mxhook(t, "send", "--server", i.SMTP(), "--to", "in@example.com", "--subject", "once more"); code != exitFine {
		t.Fatalf("send: exit code %d: %s", code, stderr)
	}
	first := i.Endpoint.WaitCount(t, 1, 20*time.Second)[0]
	id, message := first.ID, strings.Split(first.ID, ".")[0]
	if out := on(exitFine, "messages", "list", "--recipient", "@example.com", "--since", "1h"); !strings.Contains(out, message) {
		t.Errorf("messages list: %s", out)
	}
	// The endpoint has answered a moment before the success is noted.
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(on(exitFine, "deliveries", "list", "--json"), id) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if out := on(exitFine, "messages", "show", message); !strings.Contains(out, id) || !strings.Contains(out, pipeline.StateDelivered) {
		t.Errorf("messages show: %s", out)
	}
	if out := on(exitFine, "messages", "show", "--raw", message); !strings.Contains(out, "Subject: once more\r\n") {
		t.Errorf("messages show --raw: %q", out)
	}
	if out := on(exitFine, "deliveries", "list", "--state", "delivered", "--sink", "hook"); !strings.Contains(out, id) || !strings.Contains(out, "200") {
		t.Errorf("deliveries list: %s", out)
	}
	if out := on(exitFine, "deliveries", "replay", "--sink", "hook", "--dry-run"); !strings.HasPrefix(out, "1 would be replayed") {
		t.Errorf("preview: %s", out)
	}
	if out := on(exitFine, "deliveries", "replay", "--sink", "hook", "--rate", "100"); !strings.HasPrefix(out, "1 replayed") {
		t.Errorf("replay of the delivery: %s", out)
	}
	if out := on(exitFine, "messages", "replay", message, "--json"); !strings.Contains(out, `"replayed": 1`) {
		t.Errorf("replay of the message: %s", out)
	}
	replayed := map[string]bool{}
	for _, r := range i.Endpoint.WaitCount(t, 3, 20*time.Second)[1:] {
		var w struct {
			Data struct {
				Delivery struct {
					ReplayOf string `json:"replay_of"`
				}
			}
		}
		if err := json.Unmarshal(r.Body, &w); err != nil || w.Data.Delivery.ReplayOf != id || r.ID == id {
			t.Errorf("%s is a replay of %q, want %s (%v)", r.ID, w.Data.Delivery.ReplayOf, id, err)
		}
		replayed[r.ID] = true
	}
	if len(replayed) != 2 {
		t.Errorf("replays arrived under the ids %v", replayed)
	}
	if out := on(exitFine, "queue", "status"); !regexp.MustCompile(`(?s)durability +fsync.*messages +.*kept.*hook +0 due.*MXHOOK_LOG`).MatchString(out) {
		t.Errorf("queue status: %s", out)
	}
	on(exitProblem, "deliveries", "drop", id)
	on(exitFine, "messages", "drop", message)
	on(exitProblem, "messages", "show", message)
}

// A sender that did not hear the 250 sends the mail again; it hears the id of the first.
func TestRetryOfASenderIsOneMailWithinTheWindow(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(apptest.BasicConfig, "reserve: 10MB", "reserve: 10MB, dedupe_window: 1h", 1)})
	send := func(rcpt string) (id string) {
		t.Helper()
		code, out, stderr := mxhook(t, "send", "--server", i.SMTP(), "--to", rcpt, "samples/4-forged.eml")
		if code != exitFine {
			t.Fatalf("send: exit code %d: %s", code, stderr)
		}
		return regexp.MustCompile(`queued as (\w+)`).FindString(out)
	}
	first := send("in@example.com")
	i.Endpoint.WaitCount(t, 1, 20*time.Second)
	deadline := time.Now().Add(20 * time.Second)
	again := send("in@example.com")
	for ; again != first && time.Now().Before(deadline); again = send("in@example.com") {
		first = again // it came before the note of the first
	}
	if other := send("out@example.com"); again != first || other == first {
		t.Errorf("queued as %q, again as %q, to another as %q", first, again, other)
	}
}

// The commands that talk to a running instance, against one.
func TestDeadCommandsWorkOnARunningInstance(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{})
	i.Endpoint.Behave(apptest.Behaviour{Status: http.StatusGone})
	code, stdout, stderr := mxhook(t, "send", "--server", i.SMTP(), "--to", "in@example.com", "--subject", "to the dead")
	if code != exitFine || !strings.Contains(stdout, "queued as") {
		t.Fatalf("send: exit code %d: %s%s", code, stdout, stderr)
	}
	id := i.WaitDead(t, 1, 20*time.Second)[0].ID
	api := []string{"--api", i.Ops()}
	dead := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := mxhook(t, append(append([]string{"dead"}, args...), api...)...)
		if code != exitFine {
			t.Fatalf("dead %v: exit code %d: %s", args, code, stderr)
		}
		return stdout
	}
	if out := dead("list"); !strings.Contains(out, id) || !strings.Contains(out, "410") {
		t.Errorf("list: %s", out)
	}
	if out := dead("show", id); !strings.Contains(out, `"status": "410 Gone"`) {
		t.Errorf("show: %s", out)
	}
	if out := dead("show", "--raw", id); !strings.Contains(out, "Subject: to the dead\r\n") {
		t.Errorf("show --raw: %q", out)
	}
	i.Endpoint.Behave(apptest.Behaviour{})
	if out := dead("replay", id); !strings.Contains(out, "replayed as "+id) {
		t.Errorf("replay: %s", out)
	}
	i.Endpoint.WaitCount(t, 2, 20*time.Second)
	if out := dead("list", "--json"); !strings.Contains(out, `"dead": []`) {
		t.Errorf("list after the replay: %s", out)
	}
	if code, _, stderr := mxhook(t, append([]string{"dead", "drop", id}, api...)...); code != exitProblem || !strings.Contains(stderr, "no dead letter of that id") {
		t.Errorf("drop of what is gone: exit code %d: %s", code, stderr)
	}
	if code, stdout, _ := mxhook(t, append([]string{"health"}, api...)...); code != exitFine || !strings.Contains(stdout, `"durability":"fsync"`) {
		t.Errorf("health: exit code %d: %s", code, stdout)
	}
}

// The mail that waited in a plain store is delivered from an encrypted one.
func TestQueueMigratesToAnEncryptedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	endpoint := apptest.NewEndpoint(t)
	endpoint.Behave(apptest.Behaviour{Status: http.StatusServiceUnavailable})
	i := apptest.Start(t, apptest.Options{Dir: dir, Endpoint: endpoint})
	if code, _, stderr := mxhook(t, "send", "--server", i.SMTP(), "--to", "in@example.com"); code != exitFine {
		t.Fatalf("send: exit code %d: %s", code, stderr)
	}
	id := endpoint.WaitCount(t, 1, 20*time.Second)[0].ID
	i.Stop()

	old := filepath.Join(dir, "mxhook.yaml")
	text, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(strings.Replace(string(text), "/data\n", "/encrypted\n", 1), "{reserve: 10MB}",
		"{reserve: 10MB, encryption_key: 3Tz8bq0v1Yh6Jc5Rk2Wm9Xn4Pd7Ls0Ga}", 1)
	fresh := filepath.Join(dir, "new.yaml")
	if err := os.WriteFile(fresh, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := mxhook(t, "queue", "migrate", "-c", old, "--to", fresh); code != exitFine || !strings.Contains(out, "1 messages") {
		t.Fatalf("migrate: exit code %d: %s%s", code, out, stderr)
	}
	endpoint.Behave(apptest.Behaviour{})
	apptest.Start(t, apptest.Options{Dir: dir, Endpoint: endpoint, Config: moved})
	endpoint.Wait(t, 30*time.Second, "the mail from the new store", func([]apptest.Webhook) bool { return endpoint.Accepted()[id] > 0 })
}

// A dead letter is an event: counted, and posted with a signature to where alerts go.
func TestDeadLetterIsAnAlert(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: apptest.BasicConfig + `
alerts: {url: "{{.Endpoint}}/alerts", secret: "{{.Secret}}", allow_private: true, interval: 1s, kinds: [dead_letter]}
`})
	i.Endpoint.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		if strings.HasPrefix(w.ID, "alert.") {
			return apptest.Behaviour{}
		}
		return apptest.Behaviour{Status: http.StatusGone}
	})
	if code, _, stderr := mxhook(t, "send", "--server", i.SMTP(), "--to", "in@example.com"); code != exitFine {
		t.Fatalf("send: exit code %d: %s", code, stderr)
	}
	hooks := i.Endpoint.Wait(t, 30*time.Second, "an alert", func(ws []apptest.Webhook) bool {
		return slices.ContainsFunc(ws, func(w apptest.Webhook) bool { return strings.HasPrefix(w.ID, "alert.") })
	})
	alert := hooks[slices.IndexFunc(hooks, func(w apptest.Webhook) bool { return strings.HasPrefix(w.ID, "alert.") })]
	var body struct {
		Type string
		Data struct {
			Events []struct{ Kind, Sink, Reason string }
		}
	}
	if err := json.Unmarshal(alert.Body, &body); err != nil || body.Type != "mxhook.alert" || len(body.Data.Events) != 1 ||
		body.Data.Events[0].Kind != "dead_letter" || body.Data.Events[0].Sink != "hook" || !strings.Contains(body.Data.Events[0].Reason, "410") {
		t.Errorf("%v: %s", err, alert.Body)
	}
}
