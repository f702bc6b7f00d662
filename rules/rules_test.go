package rules

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/rules.md")

// sample is a message that has something to say for every word of the vocabulary.
func sample() *pipeline.Message {
	return &pipeline.Message{
		Envelope: pipeline.Envelope{
			ID: "01KAK5A0000000000000000000", ReversePath: "Alice@Example.ORG", Listener: "mx", Size: 12345, SMTPUTF8: true,
			ReceivedAt: time.Date(2026, 11, 21, 19, 17, 3, 0, time.UTC),
			Recipients: []pipeline.Recipient{
				{Address: "Ticket-7+Blue@example.com", Local: "Ticket-7", Tag: "Blue", Domain: "example.com", Captures: map[string]string{"id": "7"}},
				{Address: "bob@example.net", Local: "bob", Domain: "example.net"},
			},
			Client: pipeline.Client{IP: netip.MustParseAddr("192.0.2.1"), Port: 41235, Helo: "Mail.Example.Org", TLS: &pipeline.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256"}},
		},
		Content: &pipeline.Content{
			Kind: pipeline.KindMail, Subject: "Your Invoice 17",
			From: []pipeline.Address{{Name: "Alice", Address: "Alice@Example.org"}, {Address: "second@example.org"}},
			To:   []pipeline.Address{{Address: "Team@example.com"}, {Name: "Support", Address: `"odd@local"@example.com`}},
			Headers: []pipeline.HeaderField{
				{Name: "List-Id", Value: "<dev.example.org>"}, {Name: "X-Label", Value: "calm"}, {Name: "x-label", Value: "very urgent"},
			},
			Attachments: []pipeline.Attachment{
				{ID: "2", Filename: "a.PDF", ContentType: "Application/PDF", Disposition: "attachment", Size: 2048},
				{ID: "3", Filename: "logo.png", ContentType: "image/png", Disposition: "inline", Size: 100},
			},
		},
		Auth: &pipeline.AuthResults{
			Sender: pipeline.SenderResult{Verified: true, Domain: "example.org", By: "dmarc"},
			SPF:    pipeline.SPFResult{Result: "pass", Domain: "example.org", Identity: "mailfrom"},
			DKIM:   []pipeline.DKIMResult{{Result: "pass", Domain: "Example.org", Selector: "s1", Algorithm: "rsa-sha256", Aligned: true}, {Result: "fail", Domain: "other.example"}},
			DMARC:  pipeline.DMARCResult{Result: "pass", Domain: "example.org", Policy: "reject", SPFAligned: true, DKIMAligned: true},
			ARC:    pipeline.ARCResult{Result: "pass", Sealers: []string{"Lists.example.org"}, Trusted: true},
			IPRev:  pipeline.IPRevResult{Result: "pass", Name: "mail.example.org"},
		},
	}
}

// sampleOptions has a list and a signed address for every example of the vocabulary.
func sampleOptions() Options {
	return Options{
		Lists:  []List{{Name: "vip", Entries: []string{"Alice@example.org", "carol@example.org"}}},
		Signed: []*SignedAddress{{Name: "reply", Local: "reply", Domain: "example.com", Separator: "+", Keys: [][]byte{[]byte("0123456789abcdef")}}},
	}
}

// holds compiles one condition and tells whether it matches the sample's first recipient.
func holds(t *testing.T, when string, m *pipeline.Message) bool {
	t.Helper()
	table, err := Compile([]Rule{{Name: "r", When: when, To: []string{"a"}}}, sampleOptions())
	if err != nil {
		t.Fatalf("compile %s:\n%v", when, err)
	}
	routing, problems := table.Route(m)
	if len(problems) > 0 {
		t.Fatalf("%s: %+v", when, problems)
	}
	return slices.ContainsFunc(routing.Targets, func(t pipeline.Target) bool {
		return t.Recipient.Address == m.Envelope.Recipients[0].Address
	})
}

func TestConditionsReadTheMessage(t *testing.T) {
	t.Parallel()
	cases := []struct {
		when string
		want bool
	}{
		{`recipient.domain == "example.com" and recipient.local startsWith "ticket-" and sender.verified`, true},
		{`recipient.address == "ticket-7+blue@example.com"`, true},
		{`recipient.tag == "blue"`, true},
		{`recipient.captures["id"] == "7"`, true},
		{`recipient.captures.id == "7"`, true},
		{`recipient.captures["no"] == ""`, true},
		{`envelope.mail_from == "alice@example.org"`, true},
		{`len(envelope.recipients) == 2`, true},
		{`envelope.recipients endsWith "@example.net"`, true},
		{`envelope.helo == "mail.example.org" and client.helo == envelope.helo`, true},
		{`envelope.smtputf8 and client.tls and client.tls_version == "TLS 1.3"`, true},
		{`inNetwork(client.ip, "192.0.2.0/24")`, true},
		{`inNetwork(client.ip, "192.0.2.1")`, true},
		{`inNetwork(client.ip, "2001:db8::/32")`, false},
		{`subject contains "Invoice"`, true},
		{`lower(subject) contains "invoice"`, true},
		{`subject matches "(?i)\\binvoice\\b"`, true},
		{`"alice@example.org" in from`, true},
		{`from == "second@example.org"`, true},
		{`from != "second@example.org"`, false},
		{`from != "nobody@example.org"`, true},
		{`"nobody@example.org" not in from`, true},
		{`from contains "@example.org"`, true},
		{`from endsWith "@example.net"`, false},
		{`from matches "^second@"`, true},
		{`not (from startsWith "second@")`, false},
		{`from contains lower("ALICE")`, true},
		{`any(from, .domain == "example.org" and .name == "Alice")`, true},
		{`any(to, .domain == "example.com" and .local == "\"odd@local\"")`, true},
		{`to contains recipient.domain`, true},
		{`any(to, from contains "alice")`, true},
		{`any(from, to contains .local)`, false},
		{`any(to, to contains .local)`, true},
		{`any(headers("X-Label"), # contains "urgent")`, true},
		{`headers("X-Label") contains "urgent"`, true},
		{`headers("X-Label") == "calm"`, true},
		{`"calm" in headers("X-LABEL")`, true},
		{`header("x-label") == "calm"`, true},
		{`header("X-None") == ""`, true},
		{`headers("X-None") contains "a"`, false},
		{`header("List-Id") contains recipient.domain`, false},
		{`size > 12000 and size == envelope.size`, true},
		{`len(attachments) == 2`, true},
		{`any(attachments, .extension == "pdf" and .size > 1024)`, true},
		{`count(attachments, .disposition == "inline") == 1`, true},
		{`all(attachments, .content_type startsWith "image/")`, false},
		{`kind == "mail"`, true},
		{`kind in ["bounce", "complaint"]`, false},
		{`now.Hour() == 19 and now.Month().String() == "November" and now.Weekday().String() == "Saturday"`, true},
		{`now.In(timezone("Europe/Berlin")).Hour() == 20`, true},
		{`now > date("2026-01-01") and now - date("2026-11-21") < duration("24h")`, true},
		{`envelope.received_at == now`, true},
		{`auth.spf.result == "pass" and auth.dmarc.policy == "reject"`, true},
		{`any(auth.dkim, .result == "pass" and .aligned and .domain == "example.org")`, true},
		{`"lists.example.org" in auth.arc.sealers and auth.arc.trusted`, true},
		{`auth.iprev.name endsWith "example.org"`, true},
		{`recipient.captures["id"] != "" and int(recipient.captures["id"]) > 5`, true},
		{`let d = recipient.domain; d == "example.com" or d == "example.net"`, true},
		{`recipient.tag == "" ? sender.verified : size > 5`, true},
		{`subject | lower() | trim() contains "invoice"`, true},
		{`from[0].domain == "example.org"`, true},
		{`len(filter(to, .domain == "example.com")) == 2`, true},
	}
	for _, c := range cases {
		t.Run(c.when, func(t *testing.T) {
			t.Parallel()
			if got := holds(t, c.when, sample()); got != c.want {
				t.Errorf("%s is %v, want %v", c.when, got, c.want)
			}
		})
	}
}

func TestMessageWithoutContentAndAuthIsRouted(t *testing.T) {
	t.Parallel()
	bare := &pipeline.Message{Envelope: pipeline.Envelope{Recipients: sample().Envelope.Recipients}}
	for _, when := range []string{
		`subject == ""`, `header("Subject") == ""`, `len(headers("Subject")) == 0`, `not sender.verified`, `auth.spf.result == "none"`,
		`auth.dmarc.result == "none"`, `len(auth.dkim) == 0`, `kind == "mail"`, `from != "a@example.org"`, `not client.tls`,
		`not inNetwork(client.ip, "0.0.0.0/0")`, `len(attachments) == 0`,
	} {
		if !holds(t, when, bare) {
			t.Errorf("%s does not hold for a message that nothing is known of", when)
		}
	}
}

// TestMistakesAreExplained compares every message with testdata/mistakes.want.
func TestMistakesAreExplained(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile(filepath.Join("testdata", "mistakes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, when := range strings.Split(strings.TrimSpace(string(src)), "\n") {
		_, err := Compile([]Rule{{Name: "r", When: when, To: []string{"a"}, File: "mxhook.yaml", Line: 7, Column: 12}}, Options{})
		if err == nil {
			t.Errorf("%s compiles", when)
			continue
		}
		fmt.Fprintf(&got, "%v\n\n", err)
	}
	golden(t, "mistakes.want", got.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Compile([]Rule{
		{Name: "", To: []string{"a"}},
		{Name: "x", When: `recipient.domian == "a" and auth.spf.result == "pas" and size > "1"`, To: []string{"a", "a"}, File: "f.yaml", Line: 3, Column: 9},
		{Name: "x", When: `size >`, Drop: true, To: []string{"a"}},
		{Name: "default"},
	}, Options{Defaults: []string{"a", "a"}})
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %T", err)
	}
	var got []string
	for _, e := range joined.Unwrap() {
		var f *Finding
		if !errors.As(e, &f) {
			t.Fatalf("%T is no finding", e)
		}
		got = append(got, fmt.Sprintf("%d %s %s:%d:%d", f.Rule, f.Field, f.File, f.Line, f.Column))
	}
	want := []string{
		"0 name :0:0",
		"1 to[1] f.yaml:0:0", "1 when f.yaml:3:19", "1 when f.yaml:3:56",
		"2 name :0:0", "2 drop :0:0", "2 when :0:0",
		"3 name :0:0", "3 to :0:0",
		"-1 [1] :0:0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%v", diff, err)
	}
}

func TestPlaceOfMistakeInLaterLineOfCondition(t *testing.T) {
	t.Parallel()
	_, err := Compile([]Rule{{Name: "r", When: "sender.verified and\nsize > 1 and\n  sisze > 2", To: []string{"a"}, File: "f", Line: 10, Column: 7}}, Options{})
	var f *Finding
	if !errors.As(err, &f) || f.Line != 12 || f.Column != 9 {
		t.Fatalf("got %+v", f)
	}
	if want := "      sisze > 2\n      ^"; f.Snippet != want {
		t.Errorf("snippet\n%s\nwant\n%s", f.Snippet, want)
	}
}

func TestRulesRunInOrder(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{
		{Name: "com", When: `recipient.domain == "example.com"`, To: []string{"a", "b"}},
		{Name: "again", When: `recipient.domain == "example.com"`, To: []string{"b"}, Stop: true},
		{Name: "late", To: []string{"c"}, When: `recipient.domain != "gone.example" and recipient.domain != "none.example"`},
		{Name: "gone", When: `recipient.domain == "gone.example"`, Drop: true},
		{Name: "never", When: `recipient.domain == "gone.example"`, To: []string{"a"}},
	}, Options{Defaults: []string{"d", "e"}})
	if err != nil {
		t.Fatal(err)
	}
	rcpt := func(domain string) pipeline.Recipient {
		return pipeline.Recipient{Address: "x@" + domain, Local: "x", Domain: domain}
	}
	m := &pipeline.Message{Envelope: pipeline.Envelope{Recipients: []pipeline.Recipient{
		rcpt("example.com"), rcpt("example.net"), rcpt("gone.example"), rcpt("none.example"),
	}}}
	got, problems := table.Route(m)
	want := pipeline.Routing{
		Targets: []pipeline.Target{
			{Recipient: rcpt("example.com"), Sink: "a", Rule: "com"},
			{Recipient: rcpt("example.com"), Sink: "b", Rule: "com"},
			{Recipient: rcpt("example.com"), Sink: "b", Rule: "again"},
			{Recipient: rcpt("example.net"), Sink: "c", Rule: "late"},
			{Recipient: rcpt("none.example"), Sink: "d", Rule: "default"},
			{Recipient: rcpt("none.example"), Sink: "e", Rule: "default"},
		},
		Dropped: []pipeline.Target{{Recipient: rcpt("gone.example"), Rule: "gone"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(problems) != 0 {
		t.Errorf("problems %v, routing (-want +got):\n%s", problems, diff)
	}
}

func TestRecipientWithoutRuleAndDefaultIsUnrouted(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{{Name: "r", When: `recipient.domain == "example.net"`, To: []string{"a"}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := table.Route(sample())
	if len(got.Targets) != 1 || len(got.Unrouted) != 1 || got.Unrouted[0].Domain != "example.com" {
		t.Errorf("got %+v", got)
	}
}

func TestDropKeepsEarlierTargets(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{{Name: "copy", To: []string{"a"}}, {Name: "junk", Drop: true}, {Name: "rest", To: []string{"b"}}}, Options{Defaults: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := table.Route(sample())
	if len(got.Targets) != 2 || got.Targets[0].Sink != "a" || got.Targets[1].Sink != "a" || len(got.Dropped) != 2 || len(got.Unrouted) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestFailingConditionIsAProblemAndNoMatch(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{
		{Name: "bad", When: `int(recipient.local) > 3`, To: []string{"a"}, Stop: true},
		{Name: "index", When: `from[9].domain == "example.org"`, To: []string{"a"}, Stop: true},
		{Name: "good", To: []string{"b"}},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, problems := table.Route(sample())
	if len(got.Targets) != 2 || got.Targets[0].Sink != "b" || got.Targets[1].Sink != "b" {
		t.Errorf("targets %+v", got.Targets)
	}
	if len(problems) != 2 || problems[0].Code != "rule-failed" || problems[0].Where != "bad" || problems[1].Where != "index" {
		t.Errorf("one problem a rule wanted, got %+v", problems)
	}
}

func TestCostOfListsIsBounded(t *testing.T) {
	t.Parallel()
	m := sample()
	for range 300 {
		m.Content.To = append(m.Content.To, pipeline.Address{Address: "x@example.com"})
	}
	table, err := Compile([]Rule{{Name: "r", When: `any(to, any(to, .domain == "example.org"))`, To: []string{"a"}}}, Options{Defaults: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	got, problems := table.Route(m)
	if len(problems) != 1 || !strings.Contains(problems[0].Detail, "20000 list elements") {
		t.Errorf("problems %+v", problems)
	}
	if len(got.Targets) != 2 || got.Targets[0].Sink != "b" {
		t.Errorf("the mail is lost: %+v", got)
	}
}

// TestSharedConditionsAreEvaluatedOnce: what does not depend on the recipient costs a mail to many no more.
func TestSharedConditionsAreEvaluatedOnce(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{
		{Name: "shared", When: `any(to, .domain == "example.com") and size > 0`, To: []string{"a"}},
		{Name: "own", When: `any(to, .domain == recipient.domain)`, To: []string{"b"}},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	table.now = func() time.Time { calls++; return time.Unix(0, 0) }
	for round := range 2 {
		got, _ := table.Route(sample())
		if len(got.Targets) != 3 { // both for example.com, shared only for example.net
			t.Errorf("targets %+v", got.Targets)
		}
		// The clock is read once for each evaluation that looks at a list.
		if want := 3 * (round + 1); calls != want {
			t.Errorf("%d evaluations after %d messages, want %d", calls, round+1, want)
		}
	}
}

func TestTimeOfListsIsBounded(t *testing.T) {
	t.Parallel()
	m := sample()
	for range 300 {
		m.Content.To = append(m.Content.To, pipeline.Address{Address: "x@example.com"})
	}
	table, err := Compile([]Rule{{Name: "r", When: `to contains "nobody"`, To: []string{"a"}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	clock := time.Unix(0, 0)
	table.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(600 * time.Millisecond)
		return clock
	}
	_, problems := table.Route(m)
	if len(problems) != 1 || !strings.Contains(problems[0].Detail, "longer than 1s") {
		t.Errorf("problems %+v", problems)
	}
}

func TestTableIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{
		{Name: "a", When: `from contains "alice" and subject matches "Invoice" and headers("X-Label") contains "urgent"`, To: []string{"a"}},
		{Name: "b", When: `any(attachments, .extension == "pdf")`, To: []string{"b"}},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	with, without := sample(), sample()
	without.Content = &pipeline.Content{Subject: "hello"}
	want := map[*pipeline.Message]int{with: 4, without: 0}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				for m, n := range want {
					if got, _ := table.Route(m); len(got.Targets) != n {
						t.Errorf("%d targets, want %d", len(got.Targets), n)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	table, err := Compile([]Rule{
		{Name: "typo", When: `sender.verified`, To: []string{"helpdesc"}, Stop: true, File: "f", Line: 2, Column: 5},
		{Name: "twin", When: `sender.verified`, To: []string{"archive"}},
		{Name: "no", When: `1 == 2`, To: []string{"archive"}},
		{Name: "both", When: `recipient.domain == "a.example" and sender.verified and "b.example" == recipient.domain`, To: []string{"archive"}},
		{Name: "lists", When: `from == "a@a.example" and from == "b@a.example"`, To: []string{"archive"}},
		{Name: "all", To: []string{"archive"}, Stop: true},
		{Name: "late", To: []string{"archive"}},
	}, Options{Defaults: []string{"nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range table.Check([]string{"helpdesk", "archive"}) {
		level := "error"
		if f.Warning {
			level = "warning"
		}
		got = append(got, level+" "+f.Field+" "+f.Error())
	}
	want := []string{
		`error to[0] f: rule "typo": there is no sink "helpdesc"; did you mean helpdesk?`,
		"warning when rule \"twin\": this rule never matches: rule \"typo\" has the same condition and ends the run\n    sender.verified\n    ^",
		"warning when rule \"no\": this rule never matches: its condition is always false\n    1 == 2\n    ^",
		"warning when rule \"both\": this rule never matches: recipient.domain cannot be \"a.example\" and \"b.example\" at once; write or\n    recipient.domain == \"a.example\" and sender.verified and \"b.example\" == recipient.domain\n    ^",
		`warning name rule "late": no recipient reaches this rule: rule "all" before it matches everything and ends the run`,
		`error [0] default: there is no sink "nowhere"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
