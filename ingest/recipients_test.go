package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func mustDomains(t testing.TB, ds ...Domain) *Domains {
	t.Helper()
	d, err := NewDomains(ds)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustAddress(t testing.TB, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return a
}

func TestDomainsAccept(t *testing.T) {
	t.Parallel()
	d := mustDomains(t,
		Domain{Name: "example.com", Recipients: []string{
			"support", "sales+vip", "reply+*", "in*out", "/^ticket-(?<id>[0-9]+)(-(?P<part>[a-z]+))?$/", "/order/", "Jo\u0308rg", "two words",
		}},
		Domain{Name: "all.example.com"},
		Domain{Name: "star.example.com", Recipients: []string{"x", "*"}},
		Domain{Name: "*.tenants.example.com", Recipients: []string{"inbox"}},
		Domain{Name: "special.tenants.example.com", Recipients: []string{"only"}},
		Domain{Name: "**.deep.example.com"},
		Domain{Name: "**.very.deep.example.com", Recipients: []string{"nearer"}},
		Domain{Name: "Bücher.example", TagSeparator: "--"},
		Domain{Name: "xn--strae-oqa.example", TagSeparator: NoTags},
	)
	r := func(address, local, tag string, captures ...string) pipeline.Recipient {
		_, domain, _ := strings.Cut(address[strings.LastIndex(address, "@"):], "@")
		want := pipeline.Recipient{Address: address, Local: local, Tag: tag, Domain: domain}
		for i := 0; i < len(captures); i += 2 {
			if want.Captures == nil {
				want.Captures = map[string]string{}
			}
			want.Captures[captures[i]] = captures[i+1]
		}
		return want
	}
	for _, c := range []struct {
		address string
		want    pipeline.Recipient
		err     error
	}{
		{address: "support@example.com", want: r("support@example.com", "support", "")},
		{address: "SupPort@Example.COM", want: r("SupPort@example.com", "SupPort", "")},
		{address: "support+a+b@example.com", want: r("support+a+b@example.com", "support", "a+b")},
		{address: "support+@example.com", want: r("support+@example.com", "support", "")},
		{address: `"support"@example.com`, want: r(`"support"@example.com`, "support", "")},
		{address: `"two words"@example.com`, want: r(`"two words"@example.com`, "two words", "")},
		{address: "+support@example.com", err: replyUnknownRecipient},
		{address: "supportx@example.com", err: replyUnknownRecipient},
		{address: "sales+vip@example.com", want: r("sales+vip@example.com", "sales", "vip")},
		{address: "sales@example.com", err: replyUnknownRecipient},
		{address: "Reply+Abc@example.com", want: r("Reply+Abc@example.com", "Reply", "Abc")},
		{address: "reply@example.com", err: replyUnknownRecipient},
		{address: "in-and-out@example.com", want: r("in-and-out@example.com", "in-and-out", "")},
		{address: "inout+x@example.com", want: r("inout+x@example.com", "inout", "x")},
		{address: "inou@example.com", err: replyUnknownRecipient},
		{address: "ticket-42@example.com", want: r("ticket-42@example.com", "ticket-42", "", "id", "42")},
		{address: "Ticket-42-AB@example.com", want: r("Ticket-42-AB@example.com", "Ticket-42-AB", "", "id", "42", "part", "AB")},
		{address: "ticket-42+x@example.com", want: r("ticket-42+x@example.com", "ticket-42", "x", "id", "42")},
		{address: "ticket-x@example.com", err: replyUnknownRecipient},
		{address: "my-order-1@example.com", want: r("my-order-1@example.com", "my-order-1", "")},
		{address: "J\u00d6RG@example.com", want: r("J\u00d6RG@example.com", "J\u00d6RG", "")},
		{address: "PostMaster@example.com", want: r("PostMaster@example.com", "PostMaster", "")},
		{address: "postmaster+x@example.com", want: r("postmaster+x@example.com", "postmaster", "x")},
		{address: "postmaster", want: r("postmaster@example.com", "postmaster", "")},
		{address: "postmaster@example.net", err: replyRelayRefused},

		{address: "any.thing@all.example.com", want: r("any.thing@all.example.com", "any.thing", "")},
		{address: "any.thing@star.example.com", want: r("any.thing@star.example.com", "any.thing", "")},

		{address: "inbox@a.tenants.example.com", want: r("inbox@a.tenants.example.com", "inbox", "")},
		{address: "other@a.tenants.example.com", err: replyUnknownRecipient},
		{address: "inbox@a.b.tenants.example.com", err: replyRelayRefused},
		{address: "inbox@tenants.example.com", err: replyRelayRefused},
		{address: "only@special.tenants.example.com", want: r("only@special.tenants.example.com", "only", "")},
		{address: "inbox@special.tenants.example.com", err: replyUnknownRecipient},
		{address: "x@a.deep.example.com", want: r("x@a.deep.example.com", "x", "")},
		{address: "x@a.b.deep.example.com", want: r("x@a.b.deep.example.com", "x", "")},
		{address: "x@deep.example.com", err: replyRelayRefused},
		{address: "x@a.b.very.deep.example.com", err: replyUnknownRecipient},
		{address: "nearer@a.b.very.deep.example.com", want: r("nearer@a.b.very.deep.example.com", "nearer", "")},
		{address: "x@very.deep.example.com", want: r("x@very.deep.example.com", "x", "")},

		{address: "a+b--c@xn--bcher-kva.example", want: r("a+b--c@xn--bcher-kva.example", "a+b", "c")},
		{address: "a@bücher.example", want: r("a@xn--bcher-kva.example", "a", "")},
		{address: "a+b@straße.example", want: r("a+b@xn--strae-oqa.example", "a+b", "")},
		{address: "a@com", err: replyRelayRefused},
		{address: "a@[192.0.2.1]", err: replyRelayRefused},
	} {
		got, err := d.Accepts(context.Background(), mustAddress(t, c.address))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.address, err, c.err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.address, diff)
		}
	}
}

// An exact pattern for the whole local part wins over one for the part without tag, and both over the others, whatever
// the order they are written in; among the others the order decides.
func TestDomainsOrderOfPatterns(t *testing.T) {
	t.Parallel()
	d := mustDomains(t, Domain{Name: "example.com", Recipients: []string{
		"/^(?<first>a.*)$/", "/^(?<second>ab.*)$/", "/^(?<third>[bc])$/", "/^(?<fourth>[bc].*)$/", "abc", "abc+x",
	}})
	for address, want := range map[string]map[string]string{
		"abc@example.com":   nil,
		"abc+x@example.com": nil,
		"abc+y@example.com": nil,
		"abd@example.com":   {"first": "abd"},
		"a+b@example.com":   {"first": "a+b"}, // the whole before the part without tag
		"b+x@example.com":   {"third": "b"},   // but one pattern after the other
		"bc+x@example.com":  {"fourth": "bc+x"},
	} {
		got, err := d.Accepts(context.Background(), mustAddress(t, address))
		if err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if diff := cmp.Diff(want, got.Captures); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
}

func TestDomainsWithoutDomainRefuseAll(t *testing.T) {
	t.Parallel()
	d := mustDomains(t)
	for _, a := range []string{"postmaster", "postmaster@example.com", "a@example.com"} {
		if _, err := d.Accepts(context.Background(), mustAddress(t, a)); !errors.Is(err, replyRelayRefused) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// A mistake is named with its domain, its pattern and what to do, and all of them are reported at once.
func TestNewDomainsNamesEveryMistake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		domains []Domain
		want    []string // each in one line of the error
	}{
		{[]Domain{{Name: ""}}, []string{`domain "": the domain or a part of it is empty; write a name like example.com`}},
		{[]Domain{{Name: "a b"}}, []string{`domain "a b": ' ' cannot stand in a domain`}},
		{[]Domain{{Name: "*"}}, []string{`domain "*": '*' cannot stand`}},
		{[]Domain{{Name: "x.*.example.com"}}, []string{`domain "x.*.example.com"`}},
		{[]Domain{{Name: "*.*.example.com"}}, []string{`domain "*.*.example.com"`}},
		{[]Domain{{Name: "alice@example.com"}}, []string{`'@' cannot stand in a domain`}},
		{[]Domain{{Name: "example.com"}, {Name: "EXAMPLE.com"}}, []string{`domain "EXAMPLE.com": configured twice; put`}},
		{[]Domain{{Name: "bücher.example"}, {Name: "xn--bcher-kva.example"}}, []string{`configured twice`}},
		{[]Domain{{Name: "example.com", TagSeparator: " "}}, []string{`domain "example.com": tag separator " "`}},
		{[]Domain{{Name: "example.com", TagSeparator: "@"}}, []string{`tag separator "@"`}},
		{
			[]Domain{
				{Name: "example.com", Recipients: []string{"ok", "", "a@example.com", "/(/", "/abc", `"q"`, " x", "x\x00", strings.Repeat("x", 65)}},
				{Name: "b.example", Recipients: []string{"/[/"}},
			},
			[]string{
				`domain "example.com", recipient "": it is empty; remove it, or write *`,
				`domain "example.com", recipient "a@example.com": it has an @; write only the local part, "a"`,
				`domain "example.com", recipient "/(/": error parsing regexp: missing closing ): ` + "`(?i)(`; correct",
				`domain "example.com", recipient "/abc": the closing slash`,
				`domain "example.com", recipient "\"q\"": it starts with a quotation mark; write`,
				`domain "example.com", recipient " x": it starts or ends with a space; remove`,
				`domain "example.com", recipient "x\x00": it has '\x00', which no address can have; remove`,
				`it is longer than 64 octets`,
				`domain "b.example", recipient "/[/": `,
			},
		},
	} {
		_, err := NewDomains(c.domains)
		if err == nil {
			t.Errorf("%+v: no error", c.domains)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(c.want) {
			t.Errorf("%d lines, want %d:\n%v", len(lines), len(c.want), err)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("got %s\nwant %s", lines[i], want)
			}
		}
	}
}

// FuzzDomainsAccept checks that whatever is accepted can be put together again from its parts.
func FuzzDomainsAccept(f *testing.F) {
	d := mustDomains(f, Domain{Name: "example.com", Recipients: []string{"a*b*c", "/x(?<y>.*)/", "support"}}, Domain{Name: "**.example.org"})
	for _, s := range []string{"support", "a@b.example.org", "abc@example.com", "xy+z@example.com", `"x\"+y"@example.com`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		r, err := d.Accepts(context.Background(), a)
		if err != nil {
			return
		}
		whole := r.Local
		if strings.Contains(a.Local, "+") && r.Local != a.Local {
			whole += "+" + r.Tag
		}
		if whole != a.Local || !strings.HasSuffix(r.Address, "@"+r.Domain) {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

// BenchmarkDomainsAccept shows that the number of exact recipients does not matter.
func BenchmarkDomainsAccept(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			recipients := make([]string, n)
			for i := range recipients {
				recipients[i] = fmt.Sprintf("user%d", i)
			}
			d := mustDomains(b, Domain{Name: "example.com", Recipients: recipients})
			a := mustAddress(b, fmt.Sprintf("user%d+tag@example.com", n-1))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Accepts(context.Background(), a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
