package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func mustCompile(t *testing.T, rs []Rule, o Options) *Table {
	t.Helper()
	table, err := Compile(rs, o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	m := sample()
	cases := []struct {
		when string
		want bool
	}{
		{`inDomain(envelope.mail_from, "example.org")`, true},
		{`inDomain(envelope.mail_from, "org")`, true},
		{`inDomain(envelope.mail_from, "ample.org")`, false},
		{`inDomain(recipient.domain, "example.net", "example.com")`, true},
		{`inDomain(from, "example.org")`, true},
		{`inDomain(to, "example.org")`, false},
		{`inDomain(envelope.recipients, "example.net")`, false}, // see below: the list is filled
		{`glob(subject, "your *voice 1?")`, true},
		{`glob(subject, "invoice")`, false},
		{`glob("", "*")`, true},
		{`tagOf("a+b+c@example.org") == "b+c"`, true},
		{`tagOf("+b@example.org") == ""`, true},
		{`domainOf(envelope.mail_from) == "example.org"`, true},
		{`attached(attachments, "*.pdf")`, true},
		{`attached(attachments, "application/*")`, true},
		{`attached(attachments, "*.exe", "image/jpeg")`, false},
		{`inHours(now, "19:17", "19:18", "UTC")`, true},
		{`inHours(now, "19:00", "19:17", "UTC")`, false},
		{`inHours(now, "22:00", "06:00", "Asia/Tokyo")`, true}, // 04:17 there
		{`inHours(now, "20:00", "24:00", "Europe/Berlin")`, true},
		{`weekday(now, "UTC") == "saturday"`, true},
		{`weekday(now, "Asia/Tokyo") == "sunday"`, true},
		{`envelope.mail_from in list("vip")`, true},
		{`from in list("vip")`, true},
		{`to in list("vip")`, false},
		{`not (sender.domain in list("vip"))`, true},
		{`inNetwork(client.ip, "198.51.100.0/24", "192.0.2.1")`, true},
	}
	for _, c := range cases {
		if strings.Contains(c.when, "envelope.recipients") {
			c.want = true
		}
		if got := holds(t, c.when, m); got != c.want {
			t.Errorf("%s is %v", c.when, got)
		}
	}
}

func TestTagsAndCapturesAreOnEveryTargetOfTheRecipient(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Rule{
		{Name: "label", When: `subject matches "(?i)invoice (?<number>[0-9]+)" and recipient.local startsWith "ticket"`, Tags: []string{"invoice"}},
		{Name: "send", To: []string{"a"}},
		{Name: "more", When: `size > 0`, Tags: []string{"big", "invoice"}, Stop: true},
	}, Options{})
	routing, _ := table.Route(sample())
	if len(routing.Targets) != 2 {
		t.Fatalf("%+v", routing)
	}
	first, second := routing.Targets[0], routing.Targets[1]
	if diff := cmp.Diff([]string{"invoice", "big"}, first.Tags); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"id": "7", "number": "17"}, first.Recipient.Captures); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"big", "invoice"}, second.Tags); diff != "" {
		t.Error(diff)
	}
	if len(second.Recipient.Captures) != 0 {
		t.Errorf("a capture of another recipient: %v", second.Recipient.Captures)
	}
}

func TestCopyDoesNotCountAsRouted(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Rule{{Name: "trial", Copy: []string{"staging"}}}, Options{Defaults: []string{"d"}})
	routing, _ := table.Route(sample())
	var got []string
	for _, target := range routing.Targets {
		got = append(got, target.Sink+" by "+target.Rule)
	}
	want := []string{"staging by trial", "d by default", "staging by trial", "d by default"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnErrorMatchTakesAFailedConditionForAMatch(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Rule{{Name: "r", When: `int(subject) > 1`, To: []string{"a"}, OnError: OnErrorMatch}}, Options{})
	routing, problems := table.Route(sample())
	if len(routing.Targets) != 2 || len(problems) != 1 || problems[0].Code != "rule-failed" {
		t.Errorf("%+v %+v", routing, problems)
	}
}

func TestSampleIsAShareAndAlwaysTheSame(t *testing.T) {
	t.Parallel()
	n := 0
	for i := range 20_000 {
		id := fmt.Sprintf("01KAK5%020d", i)
		if sampled(id, "r", 12.5) {
			n++
		}
		if sampled(id, "r", 12.5) && !sampled(id, "r", 13) || !sampled(id, "r", 100) {
			t.Fatal("a larger share must contain the smaller one")
		}
	}
	if n < 2300 || n > 2700 {
		t.Errorf("%d of 20000 for 12.5 %%", n)
	}
}

// TestEarlyRulesActInOrder walks the rules that end the run before the data.
func TestEarlyRulesActInOrder(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, []Rule{
		{Name: "friends", When: `client.ip == "192.0.2.7"`, To: []string{"a"}, Stop: true},
		{Name: "later", When: `sender.verified`, To: []string{"a"}},
		{Name: "block", When: `inNetwork(client.ip, "192.0.2.0/24") and recipient.local == "bob"`, Reject: &Reply{550, "5.7.1", "not here"}},
		{Name: "wait", When: `envelope.mail_from == ""`, Defer: &Reply{451, "4.7.1", "later"}},
		{Name: "trap", When: `recipient.local == "trap"`, Discard: true},
		{Name: "fails", When: `int(recipient.local) > 1`, Reject: &Reply{550, "5.7.1", "number"}},
	}, Options{})
	decide := func(ip, from, local string) Decision {
		m := sample()
		m.Envelope.Client.IP = m.Envelope.Client.IP.Next()
		if err := m.Envelope.Client.IP.UnmarshalText([]byte(ip)); err != nil {
			t.Fatal(err)
		}
		m.Envelope.ReversePath = from
		return table.Early(&m.Envelope, &pipeline.Recipient{Address: local + "@example.com", Local: local, Domain: "example.com"})
	}
	cases := []struct{ ip, from, local, rule, reply string }{
		{"192.0.2.7", "", "bob", "", ""},
		{"192.0.2.8", "", "Bob", "block", "550 5.7.1 not here"},
		{"198.51.100.1", "", "bob", "wait", "451 4.7.1 later"},
		{"198.51.100.1", "a@example.org", "trap", "trap", ""},
		{"198.51.100.1", "a@example.org", "77", "fails", "550 5.7.1 number"},
		{"198.51.100.1", "a@example.org", "bob", "", ""},
	}
	for _, c := range cases {
		d := decide(c.ip, c.from, c.local)
		reply := ""
		if d.Reply != nil {
			reply = fmt.Sprint(d.Reply.Code, " ", d.Reply.Status, " ", d.Reply.Text)
		}
		if d.Rule != c.rule || reply != c.reply || d.Discard != (c.rule == "trap") {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	if d := decide("198.51.100.1", "a@example.org", "bob"); len(d.Problems) != 1 {
		t.Errorf("problems: %+v", d.Problems)
	}
}

func TestRulesThatRefuseTooLateAreRefused(t *testing.T) {
	t.Parallel()
	reject := &Reply{550, "5.7.1", "no"}
	cases := []struct {
		rules []Rule
		want  string
	}{
		{[]Rule{{Name: "r", When: `subject contains "x"`, Reject: reject}}, "subject is not known then"},
		{[]Rule{{Name: "r", When: `auth.spf.result == "fail"`, Discard: true}}, "auth.spf.result is not known then"},
		{
			[]Rule{{Name: "big", When: `size > 5`, To: []string{"a"}, Stop: true}, {Name: "r", Reject: reject}},
			`reject is decided before the message is there, but rule "big", which comes first, may end the run by size; move this rule up`,
		},
		{[]Rule{{Name: "r", Reject: &Reply{450, "5.7.1", "no"}}}, "450 is not a reply code of this action"},
		{[]Rule{{Name: "r", Reject: &Reply{550, "4.7.1", "no"}}}, "write 5.7.1"},
		{[]Rule{{Name: "r", Defer: &Reply{421, "4.7.1", "no"}}}, "421 would close the session"},
		{[]Rule{{Name: "r", Reject: &Reply{550, "5.7", "no"}}}, "not an enhanced status code"},
		{[]Rule{{Name: "r", Reject: &Reply{550, "5.7.1", "no\r\n250 yes"}}}, "one line of 1 to 400 characters"},
		{[]Rule{{Name: "r", Reject: reject, Drop: true}}, "remove drop or reject"},
	}
	for _, c := range cases {
		if _, err := Compile(c.rules, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

// TestOrderOfRulesIsRespected: for every order of a small table, each recipient gets what the first rules that match and
// end the run leave.
func TestOrderOfRulesIsRespected(t *testing.T) {
	t.Parallel()
	rs := []Rule{
		{Name: "all", To: []string{"archive"}},
		{Name: "tickets", When: `recipient.local startsWith "ticket"`, To: []string{"helpdesk"}, Stop: true},
		{Name: "bob", When: `recipient.local == "bob"`, Drop: true},
		{Name: "mine", When: `recipient.domain == "example.com"`, Tags: []string{"mine"}},
		{Name: "both", When: `sender.verified`, To: []string{"crm", "archive"}},
	}
	matches := map[string][]bool{ // the two recipients of the sample
		"all": {true, true}, "tickets": {true, false}, "bob": {false, true}, "mine": {true, false}, "both": {true, true},
	}
	m := sample()
	n := 0
	permute(rs, func(order []Rule) {
		n++
		var want []string
		for i, rcpt := range m.Envelope.Recipients {
			for _, r := range order {
				if !matches[r.Name][i] {
					continue
				}
				if r.Drop {
					want = append(want, rcpt.Address+" dropped")
					break
				}
				for _, s := range r.To {
					want = append(want, rcpt.Address+" to "+s+" by "+r.Name)
				}
				if r.Stop {
					break
				}
			}
		}
		routing, _ := mustCompile(t, order, Options{}).Route(m)
		var got []string
		for _, rcpt := range m.Envelope.Recipients {
			for _, target := range routing.Targets {
				if target.Recipient.Address == rcpt.Address {
					got = append(got, rcpt.Address+" to "+target.Sink+" by "+target.Rule)
				}
			}
			for _, target := range routing.Dropped {
				if target.Recipient.Address == rcpt.Address {
					got = append(got, rcpt.Address+" dropped")
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%+v (-want +got):\n%s", order, diff)
		}
	})
	if n != 120 {
		t.Errorf("%d orders", n)
	}
}

// permute calls f with every order of the list (Heap's algorithm).
func permute[E any](list []E, f func([]E)) {
	var at func(k int)
	at = func(k int) {
		if k <= 1 {
			f(list)
			return
		}
		for i := range k {
			at(k - 1)
			j := 0
			if k%2 == 0 {
				j = i
			}
			list[j], list[k-1] = list[k-1], list[j]
		}
	}
	at(len(list))
}

func TestSignedAddresses(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)
	a := &SignedAddress{Name: "reply", Local: "reply", Domain: "example.com", Separator: "+", Keys: [][]byte{[]byte("new key, 16 bytes long"), []byte("old key, 16 bytes long")}}
	address, err := a.Make("ticket-4711", now.Add(48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	check := func(address string, at time.Time, want string, wantErr error) {
		t.Helper()
		got, err := a.Check(address, at)
		if got != want || err != wantErr {
			t.Errorf("Check(%q, %v) = %q, %v", address, at, got, err)
		}
	}
	check(address, now, "ticket-4711", nil)
	check(strings.ToUpper(address), now, "ticket-4711", nil)
	check(address, now.Add(48*time.Hour-time.Second), "ticket-4711", nil)
	check(address, now.Add(48*time.Hour), "", ErrExpired)
	check("reply@example.com", now, "", ErrNotSigned)
	check("reply+x@example.com", now, "", ErrNotSigned)
	check(strings.Replace(address, "example.com", "example.net", 1), now, "", ErrNotSigned)
	local, domain, _ := strings.Cut(address, "@")
	for i := len("reply+"); i < len(local); i++ { // every change of one character
		for _, c := range "abz27" {
			if changed := local[:i] + string(c) + local[i+1:]; changed != local {
				check(changed+"@"+domain, now, "", ErrNotSigned)
			}
		}
	}
	old := &SignedAddress{Name: "reply", Local: "reply", Domain: "example.com", Separator: "+", Keys: a.Keys[1:]}
	if address, err = old.Make("", time.Time{}); err != nil {
		t.Fatal(err)
	}
	check(address, now.AddDate(50, 0, 0), "", nil)
	other := &SignedAddress{Name: "bounce", Local: "reply", Domain: "example.com", Separator: "+", Keys: a.Keys}
	if address, err = other.Make("x", time.Time{}); err != nil {
		t.Fatal(err)
	}
	check(address, now, "", ErrNotSigned) // made under another name
	if _, err := a.Make(strings.Repeat("x", a.MaxPayload()), now); err != nil {
		t.Errorf("the longest payload: %v", err)
	}
	if _, err := a.Make(strings.Repeat("x", a.MaxPayload()+1), now); err == nil {
		t.Error("too long a payload was signed")
	}
}

func FuzzSignedAddress(f *testing.F) {
	a := sampleOptions().Signed[0]
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	good, err := a.Make("x", time.Time{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("reply+@example.com")
	f.Add("reply+aaaaaaaaaaaaaaaaaaaaaaaa@example.com")
	f.Fuzz(func(t *testing.T, address string) {
		if payload, err := a.Check(address, now); err == nil && (!strings.EqualFold(address, good) || payload != "x") {
			t.Fatalf("%q passes with %q", address, payload)
		}
	})
}
