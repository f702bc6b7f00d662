package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app"
	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/configs"
	"mxhook/pipeline"
)

// waitConfig keeps the senders of some domains waiting: each with another limit and another end of it.
const waitConfig = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners:
    - {name: mx, address: "127.0.0.1:0"}
    - {name: inside, address: "127.0.0.1:0", protocol: lmtp}
domains: [{domain: gate.example}, {domain: strict.example}, {domain: lenient.example}, {domain: split.example}, {domain: open.example}]
sinks:
  - name: hook
    webhook: {url: "{{.Endpoint}}/hook?key=geheim-4711", secret: "{{.Secret}}", allow_private: true}
    retry: {steps: [1s, 1s, 2s], every: 2s}
  - name: apart
    webhook: {url: "{{.Endpoint}}/apart/{local}", secret: "{{.Secret}}", allow_private: true}
  - name: archive
    webhook: {url: "{{.Endpoint}}/archive", secret: "{{.Secret}}", allow_private: true}
rules:
  - {name: all, to: [archive]}
  - {name: gate, when: 'recipient.domain == "gate.example"', to: [hook], wait: {timeout: 20s}, stop: true}
  - {name: strict, when: 'recipient.domain == "strict.example"', to: [hook], wait: {timeout: 1s, on_timeout: defer}, stop: true}
  - {name: lenient, when: 'recipient.domain == "lenient.example"', to: [hook], wait: {timeout: 1s, on_timeout: accept}, stop: true}
  - {name: split, when: 'recipient.domain == "split.example"', to: [apart], wait: {timeout: 20s}, stop: true}
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
log: {format: json}
`

// behaveAt answers webhooks on that path as f says, which gets the whole request, and all others with 200.
func behaveAt(e *apptest.Endpoint, path string, f func(apptest.Webhook) apptest.Behaviour) {
	e.BehaveFunc(func(w apptest.Webhook) apptest.Behaviour {
		if strings.HasPrefix(w.Path, path) {
			return f(w)
		}
		return apptest.Behaviour{}
	})
}

func always(b apptest.Behaviour) func(apptest.Webhook) apptest.Behaviour {
	return func(apptest.Webhook) apptest.Behaviour { return b }
}

// to makes a transaction with these recipients, all of which are accepted.
func (c *lineClient) to(rcpts ...string) *lineClient {
	c.t.Helper()
	for _, r := range rcpts {
		c.say("RCPT TO:<"+r+">", "250")
	}
	return c
}

func waitMail(subject string, size int) string {
	return string(apptest.Text(subject, size))
}

// hooksAt are the webhooks that came in on a path.
func hooksAt(e *apptest.Endpoint, path string) []apptest.Webhook {
	return slices.DeleteFunc(e.Webhooks(), func(w apptest.Webhook) bool { return !strings.HasPrefix(w.Path, path) })
}

// metric is the value of a metric of the instance, 0 when it is not there.
func metricOf(t *testing.T, ops, name string) (v float64) {
	t.Helper()
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return v
}

// The final reply is what the endpoint says; refused mail is nowhere, and taken mail is everywhere, once.
func TestTheSenderHearsWhatTheEndpointSays(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: waitConfig})
	mx := i.App.SMTPAddr("mx")
	plain := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	taken := 0
	for n, c := range []struct {
		b    apptest.Behaviour
		want string
		size int
	}{
		{apptest.Behaviour{Status: 200}, "250 2.0.0 Ok: queued as", 100},
		{apptest.Behaviour{Status: 204}, "250 2.0.0 Ok: queued as", 3 << 20}, // in parts
		{apptest.Behaviour{Status: 403}, "550 5.7.1 The recipient's system refuses the message", 100},
		{apptest.Behaviour{Status: 403, Header: plain, Body: "No room\r\nfor \tJörg; key geheim-4711\x07\n"}, "550 5.7.1 No room for J?rg; key [redacted]", 100},
		{apptest.Behaviour{Status: 403, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<p>no</p>"}, "550 5.7.1 The recipient's system refuses", 100},
		{apptest.Behaviour{Status: 406, Header: plain, Body: strings.Repeat("long ", 200)}, "550 5.7.1 long long", 3 << 20},
		{apptest.Behaviour{Status: 404}, "550 5.1.1", 100},
		{apptest.Behaviour{Status: 413}, "552 5.3.4", 100},
		{apptest.Behaviour{Status: 422, Header: plain, Body: "250 2.0.0 fine"}, "554 5.6.0 250 2.0.0 fine", 100},
		{apptest.Behaviour{Status: 401, Header: plain, Body: "who are you"}, "451 4.3.0 who are you", 100},
		{apptest.Behaviour{Status: 429}, "450 4.3.2", 100},
		{apptest.Behaviour{Status: 500, Header: plain, Body: "stack trace"}, "451 4.3.0 The recipient's system cannot take the message now", 100},
		{apptest.Behaviour{Status: 302}, "451 4.3.0", 100},
		{apptest.Behaviour{Reset: true}, "451 4.3.0", 100},
	} {
		behaveAt(i.Endpoint, "/hook", always(c.b))
		s := begin(t, mx, "EHLO", "client.example.org").to("a@gate.example", "b@gate.example")
		s.data(waitMail(fmt.Sprint("mail ", n), c.size), c.want)
		s.say("QUIT", "221")
		if strings.HasPrefix(c.want, "250") {
			taken++
		}
		if hooks := hooksAt(i.Endpoint, "/hook"); len(hooks) != n+1 {
			t.Fatalf("case %d: the endpoint was asked %d times", n, len(hooks))
		}
	}
	apptest.WaitUntil(t, "the archive", func() bool { return len(hooksAt(i.Endpoint, "/archive")) >= taken })
	if dead := i.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: %v", dead)
	}
	refused, err := i.Console().Deliveries(t.Context(), pipeline.DeliveryFilter{State: pipeline.StateRefused}, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(refused) != 12 || refused[0].Reason == "" {
		t.Errorf("refused deliveries: %d, want 12: %+v", len(refused), refused)
	}
	if hooks := hooksAt(i.Endpoint, "/archive"); len(hooks) != taken {
		t.Errorf("the archive has %d mails, %d were taken", len(hooks), taken)
	}
	for name, want := range map[string]float64{"accepted": 2, "refused": 7, "deferred": 5} {
		if got := metricOf(t, i.Ops(), `mxhook_smtp_waits_total{result="`+name+`"}`); got != want {
			t.Errorf("waits %s: %v, want %v", name, got, want)
		}
	}
}

// An endpoint that answers too late: accept takes the mail at once and delivers it once; defer has the sender come again,
// and recognises what the endpoint took in the end.
func TestAnEndpointThatAnswersTooLate(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: waitConfig})
	mx := i.App.SMTPAddr("mx")
	late := always(apptest.Behaviour{Delay: 3 * time.Second})
	behaveAt(i.Endpoint, "/hook", late)

	begin(t, mx, "EHLO", "client.example.org").to("a@lenient.example").data(waitMail("lenient", 100), "250 2.0.0 Ok")
	if n := len(hooksAt(i.Endpoint, "/hook")); n != 0 {
		t.Fatalf("%d webhooks were answered before the sender was", n)
	}
	apptest.WaitUntil(t, "the late answer", func() bool { return len(hooksAt(i.Endpoint, "/hook")) == 1 })

	mail := waitMail("strict", 100)
	begin(t, mx, "EHLO", "client.example.org").to("a@strict.example").data(mail, "451 4.4.1 The recipient's system did not answer in time")
	apptest.WaitUntil(t, "the late answer", func() bool { return len(hooksAt(i.Endpoint, "/hook")) == 2 })
	apptest.WaitUntil(t, "both in the archive", func() bool { return len(hooksAt(i.Endpoint, "/archive")) == 2 })
	first := hooksAt(i.Endpoint, "/hook")[1].ID
	id, _, _ := strings.Cut(first, ".")
	apptest.WaitUntil(t, "the end of the first", func() bool { return metricOf(t, i.Ops(), `mxhook_messages_processed_total{result="waiting"}`) >= 2 })
	begin(t, mx, "EHLO", "client.example.org").to("a@strict.example").data(mail, "250 2.0.0 Ok: queued as "+id)

	// One that never answers: the attempt ends with the sink's time, and what was deferred is nowhere.
	behaveAt(i.Endpoint, "/hook", func(w apptest.Webhook) apptest.Behaviour {
		return apptest.Behaviour{Hang: strings.Contains(string(w.Body), "hang")}
	})
	begin(t, mx, "EHLO", "client.example.org").to("a@strict.example").data(waitMail("hang strict", 100), "451 4.4.1")
	begin(t, mx, "EHLO", "client.example.org").to("a@lenient.example").data(waitMail("hang lenient", 100), "250 2.0.0 Ok")
	apptest.WaitUntil(t, "the verdict on the first", func() bool {
		return metricOf(t, i.Ops(), `mxhook_messages_processed_total{result="deferred"}`) >= 1
	})
	apptest.WaitUntil(t, "the other one to wait for its next attempt", func() bool {
		return metricOf(t, i.Ops(), `mxhook_messages_processed_total{result="waiting"}`) >= 3
	})
	if n := len(hooksAt(i.Endpoint, "/archive")); n > 3 {
		t.Errorf("the archive has %d mails", n)
	}
	if dead := i.Dead(t); len(dead) != 0 {
		t.Errorf("dead letters: %v", dead)
	}
}

// SMTP has one reply: recipients whose answers could differ come in transactions of their own.
func TestRecipientsWithOtherAnswersComeInTransactionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: waitConfig})
	mx := i.App.SMTPAddr("mx")
	const other = "452 4.5.3 This recipient has another policy"
	s := begin(t, mx, "EHLO", "client.example.org").to("a@gate.example")
	s.say("RCPT TO:<b@strict.example>", other)
	s.say("RCPT TO:<b@open.example>", other)
	s.to("a@gate.example", "c@gate.example").data(waitMail("one", 100), "250")
	s = begin(t, mx, "EHLO", "client.example.org").to("a@open.example", "b@open.example")
	s.say("RCPT TO:<b@gate.example>", other)
	s.data(waitMail("two", 100), "250")
	s = begin(t, mx, "EHLO", "client.example.org").to("a@split.example")
	s.say("RCPT TO:<b@split.example>", other)
	s.data(waitMail("three", 100), "250")
	if n := len(hooksAt(i.Endpoint, "/apart/a")); n != 1 {
		t.Errorf("%d webhooks at the split sink", n)
	}
}

// LMTP has a reply for each recipient.
func TestOverLMTPEachRecipientHearsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: waitConfig})
	behaveAt(i.Endpoint, "/apart", func(w apptest.Webhook) apptest.Behaviour {
		return map[string]apptest.Behaviour{"/apart/no": {Status: 403}, "/apart/later": {Status: 503}}[w.Path]
	})
	s := begin(t, i.App.SMTPAddr("inside"), "LHLO", "client.example.org")
	s.to("yes@split.example", "no@split.example", "any@open.example", "later@split.example")
	s.say("RCPT TO:<x@gate.example>", "452 4.5.3")
	s.data(waitMail("one", 100), "250 2.0.0 Ok: queued as")
	s.say("", "550 5.7.1 The recipient's system refuses the message")
	s.say("", "250 2.0.0 Ok: queued as")
	s.say("", "450 4.3.2 The recipient's system takes no more messages now")
	apptest.WaitUntil(t, "the archive", func() bool { return len(hooksAt(i.Endpoint, "/archive")) == 1 })
	var payload struct {
		Data struct {
			Envelope struct {
				Recipients []struct{ Address string }
			}
		}
	}
	hooksAt(i.Endpoint, "/archive")[0].Payload(t, &payload)
	if got := fmt.Sprint(payload.Data.Envelope.Recipients); got != "[{yes@split.example} {any@open.example}]" {
		t.Errorf("the archive has it for %s", got)
	}

	// Nobody has it: that is a refusal, not a message without recipients.
	s.say("MAIL FROM:<a@client.example.org>", "250")
	s.to("no@split.example", "later@split.example").data(waitMail("two", 100), "550 5.7.1")
	s.say("", "450 4.3.2")
	if got := metricOf(t, i.Ops(), `mxhook_smtp_transactions_total{result="refused"}`); got != 1 {
		t.Errorf("%v transactions refused", got)
	}
}

// More than smtp.limits.waiting hear at once that they have to come again; other mail is taken. Those who wait for the one
// slot of their sink are asked for one after the other.
func TestSendersThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.NewReplacer(
		"hostname: mx.example.com", "hostname: mx.example.com\n  limits: {waiting: 3}",
		"  - name: hook\n", "  - name: hook\n    concurrency: 1\n",
	).Replace(waitConfig)})
	behaveAt(i.Endpoint, "/hook", always(apptest.Behaviour{Delay: time.Second}))
	var replies []chan string
	for n := range 3 {
		replies = append(replies, sendTo(t, i, "a@gate.example", fmt.Sprint("mail ", n)))
	}
	apptest.WaitUntil(t, "three who wait", func() bool { return metricOf(t, i.Ops(), "mxhook_smtp_waiting") == 3 })
	begin(t, i.App.SMTPAddr("mx"), "EHLO", "client.example.org").to("a@gate.example").data(waitMail("four", 10), "451 4.3.2 Too many messages wait")
	begin(t, i.App.SMTPAddr("mx"), "EHLO", "client.example.org").to("a@open.example").data(waitMail("five", 10), "250")
	for _, r := range replies {
		if reply := <-r; !strings.HasPrefix(reply, "250") {
			t.Errorf("reply %q", reply)
		}
	}
	if n := len(hooksAt(i.Endpoint, "/hook")); n != 3 {
		t.Errorf("%d webhooks", n)
	}
}

// sendTo sends a mail and returns where the last reply will come.
func sendTo(t *testing.T, i *apptest.Instance, rcpt, subject string) chan string {
	t.Helper()
	s := begin(t, i.App.SMTPAddr("mx"), "EHLO", "client.example.org").to(rcpt)
	s.say("DATA", "354")
	fmt.Fprintf(s.conn.Writer.W, "%s.\r\n", waitMail(subject, 10))
	if err := s.conn.Writer.W.Flush(); err != nil {
		t.Fatal(err)
	}
	reply := make(chan string, 1)
	go func() {
		code, text, _ := s.conn.ReadResponse(0) //nolint:errcheck // the code says it
		reply <- fmt.Sprint(code, " ", text)
	}()
	return reply
}

// A stop in mid-wait ends it in time: a sender that is told 250 has its mail delivered, one that is told 451 not.
func TestAStopEndsWaits(t *testing.T) {
	t.Parallel()
	i := apptest.Start(t, apptest.Options{Config: strings.Replace(waitConfig, "timeout: 1s, on_timeout: accept", "timeout: 1m, on_timeout: accept", 1)})
	behaveAt(i.Endpoint, "/hook", always(apptest.Behaviour{Delay: 9 * time.Second}))
	deferred, accepted := sendTo(t, i, "a@gate.example", "deferred"), sendTo(t, i, "a@lenient.example", "accepted")
	apptest.WaitUntil(t, "two who wait", func() bool { return metricOf(t, i.Ops(), "mxhook_smtp_waiting") == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	if err := i.App.Stop(ctx); err != nil {
		t.Logf("stop: %v", err) // the attempts are cut off
	}
	if r := <-deferred; !strings.HasPrefix(r, "451 4.4.1") {
		t.Errorf("defer: %q", r)
	}
	if r := <-accepted; !strings.HasPrefix(r, "250") {
		t.Errorf("accept: %q", r)
	}
	i.Endpoint.Behave(apptest.Behaviour{})
	i.Restart()
	apptest.WaitUntil(t, "the accepted mail", func() bool {
		n := 0
		for _, w := range hooksAt(i.Endpoint, "/hook") {
			if w.Status == 200 && strings.Contains(string(w.Body), "accepted") {
				n++
			}
		}
		return n == 1
	})
	for _, w := range hooksAt(i.Endpoint, "/archive") {
		if strings.Contains(string(w.Body), `"deferred"`) {
			t.Error("the archive has the mail whose sender was told to come again")
		}
	}
}

// Roles on machines of their own: the answer comes back over the queue. Without a process role senders are deferred, and
// what they were told to send again is dropped when it comes back.
func TestWaitsWithRolesApart(t *testing.T) {
	t.Parallel()
	node := startOneNATS(t)
	config := strings.Replace(waitConfig, "queue: {reserve: 10MB}", fmt.Sprintf("queue: {reserve: 10MB, url: %q, replicas: 1, durability: fsync}", node), 1)
	endpoint := apptest.NewEndpoint(t)
	role := func(role string) func(*app.Options) { return func(o *app.Options) { o.Roles = []string{role} } }
	in := apptest.Start(t, apptest.Options{Config: config, Endpoint: endpoint, App: role(app.RoleIngest)})
	mx := in.App.SMTPAddr("mx")

	begin(t, mx, "EHLO", "client.example.org").to("a@strict.example").data(waitMail("nobody there", 100), "451 4.4.1")
	begin(t, mx, "EHLO", "client.example.org").to("a@lenient.example").data(waitMail("taken", 100), "250")

	work := apptest.Start(t, apptest.Options{Config: config, Endpoint: endpoint, App: role(app.RoleProcess)})
	apptest.WaitUntil(t, "what was accepted", func() bool { return len(hooksAt(endpoint, "/hook")) == 1 })
	apptest.WaitUntil(t, "what nobody waits for", func() bool {
		return metricOf(t, work.Ops(), `mxhook_messages_processed_total{result="late"}`) == 1
	})
	plain := http.Header{"Content-Type": {"text/plain"}}
	behaveAt(endpoint, "/hook", func(w apptest.Webhook) apptest.Behaviour {
		if strings.Contains(string(w.Body), "bad") {
			return apptest.Behaviour{Status: 403, Header: plain, Body: "not from you"}
		}
		return apptest.Behaviour{}
	})
	begin(t, mx, "EHLO", "client.example.org").to("a@gate.example").data(waitMail("good", 100), "250")
	begin(t, mx, "EHLO", "client.example.org").to("a@gate.example").data(waitMail("bad", 100), "550 5.7.1 not from you")
	begin(t, mx, "EHLO", "client.example.org").to("a@gate.example").data(waitMail("large", 3<<20), "250")
	if n := len(hooksAt(endpoint, "/hook")); n != 4 {
		t.Errorf("%d webhooks", n)
	}
	apptest.WaitUntil(t, "the archive", func() bool { return len(hooksAt(endpoint, "/archive")) == 3 })
}

// startOneNATS starts one server and returns its address; it ends with the test.
func startOneNATS(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	n := &natsNode{t: t, bin: filepath.Join(dir, "nats-server"), config: filepath.Join(dir, "n.conf"), log: filepath.Join(dir, "n.log"), client: apptest.FreePort(t)}
	if out, err := exec.Command("go", "build", "-o", n.bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream: {store_dir: %q, sync_interval: always}\n", n.client, filepath.Join(dir, "store"))
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(func() { n.end(syscall.SIGKILL) })
	addr := fmt.Sprintf("127.0.0.1:%d", n.client)
	apptest.WaitUntil(t, "the NATS server", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "nats://" + addr
}

// A reload that removes the rule, its sink and its limit in mid-wait: the sender hears the answer to what was begun.
func TestAReloadDoesNotDisturbWaits(t *testing.T) {
	t.Parallel()
	var file string
	i := apptest.Start(t, apptest.Options{Config: waitConfig, App: func(o *app.Options) {
		file = o.Config.Files()[0]
		o.Load = func() (*configs.Config, []*configs.Mistake, error) { return configs.Load(file, nil) }
	}})
	asked := make(chan struct{}, 10)
	behaveAt(i.Endpoint, "/hook", func(apptest.Webhook) apptest.Behaviour {
		asked <- struct{}{}
		return apptest.Behaviour{Delay: 2 * time.Second, Status: 403}
	})
	reply := sendTo(t, i, "a@gate.example", "under way")
	<-asked
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "wait:") {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := i.App.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-reply; !strings.HasPrefix(r, "550 5.7.1") {
		t.Errorf("reply %q", r)
	}
	begin(t, i.App.SMTPAddr("mx"), "EHLO", "client.example.org").to("a@gate.example").data(waitMail("after", 100), "250")
}

// Killed while senders wait: what was answered with 250 is delivered, and nothing is delivered whose sender hears of no end
// but by its repeat.
func TestKillNineWhileSendersWait(t *testing.T) {
	t.Parallel()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Config: waitConfig})
	p.Start()
	behaveAt(p.Endpoint, "/hook", always(apptest.Behaviour{Delay: time.Second}))
	send := func(rcpt, subject string) (string, error) {
		return apptest.SendOne(p.SMTP(), apptest.Mail{From: "a@client.example.org", To: []string{rcpt}, Data: apptest.Text(subject, 100)})
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]bool{}
	for n := range 12 {
		wg.Go(func() {
			rcpt := []string{"a@gate.example", "a@lenient.example"}[n%2]
			if id, err := send(rcpt, fmt.Sprint("round one ", n)); err == nil {
				mu.Lock()
				defer mu.Unlock()
				accepted[id] = true
			}
		})
	}
	p.Endpoint.Wait(t, 30*time.Second, "the first answer", func(ws []apptest.Webhook) bool {
		return slices.ContainsFunc(ws, func(w apptest.Webhook) bool { return w.Path == "/hook" })
	})
	p.Kill()
	wg.Wait()
	p.Endpoint.Behave(apptest.Behaviour{})
	p.Start()
	for n := range 12 { // the senders repeat
		id, err := send("a@gate.example", fmt.Sprint("round one ", n))
		if err != nil {
			t.Fatal(err)
		}
		accepted[id] = true
	}
	apptest.WaitUntil(t, "all that was accepted, at both sinks", func() bool {
		done := p.Endpoint.Accepted()
		for id := range accepted {
			if done[id+".hook"] == 0 || done[id+".archive"] == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("accepted %d, delivered %d", len(accepted), len(p.Endpoint.Accepted()))
}
