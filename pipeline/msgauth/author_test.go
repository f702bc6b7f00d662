package msgauth

import (
	"errors"
	"net/mail"
	"strings"
	"testing"
)

var authorCases = []struct {
	header string
	domain string
	err    error
}{
	{"From: alice@example.org", "example.org", nil},
	{"from : Alice <alice@Example.ORG.>", "example.org", nil},
	{"From:\r\n\t\"Alice @ bank.example\"\r\n <alice@example.org>", "example.org", nil},
	{"From: alice@bank.example <alice@example.org>", "example.org", nil},
	{"From: Dr. Alice, Ph.D. <alice@example.org>", "", errNoDomain},
	{"From: (bob@bank.example) alice@example.org (a \\) (nested) comment)", "example.org", nil},
	{"From: \"alice@bank.example\"@example.org", "example.org", nil},
	{"From: =?utf-8?q?Alice_=3Calice=40bank.example=3E?= <alice@example.org>", "example.org", nil},
	{"From: alice@bücher.example", "xn--bcher-kva.example", nil},
	{"From: alice@under_score.example", "under_score.example", nil},
	{"From: Alice <alice@example.org>, Bob <bob@example.org>", "example.org", nil},
	{"From: ,Alice <alice@example.org>,,", "example.org", nil},
	{"From: Team: alice@example.org, bob@example.org;", "example.org", nil},
	{"From: Team:Alice <alice@example.org>;", "example.org", nil},
	{"From: alice@example.org, bob@bank.example", "", errManyDomains},
	{"From: alice@example.org\r\nFrom: bob@bank.example", "", errSeveralFrom},
	{"From: alice@example.org\r\nSubject: x\r\nFROM : bob@example.org", "", errSeveralFrom},
	{"From: alice@example.org\r\n\vFrom\v: bob@bank.example", "", errSeveralFrom},
	{" From: alice@example.org\r\nFrom: bob@bank.example", "", errSeveralFrom},
	{"Subject: x", "", errNoFrom},
	{"Subject: x\r\n\r\nFrom: alice@example.org", "", errNoFrom},
	{"X-From: alice@example.org", "", errNoFrom},
	{"From:", "", errNoDomain},
	{"From: <>", "", errFromSyntax},
	{"From: undisclosed:;", "", errNoDomain},
	{"From: MAILER-DAEMON", "", errNoDomain},
	{"From: alice@[192.0.2.1]", "", errNoDomain},
	{"From: alice@", "", errFromSyntax},
	{"From: @example.org", "", errFromSyntax},
	{"From: alice@example..org", "", errNoDomain},
	{"From: alice@exa mple.org", "", errFromSyntax},
	{"From: alice@bank.example@example.org", "", errFromSyntax},
	{"From: <alice@example.org> bob@bank.example", "", errFromSyntax},
	{"From: <alice@example.org> <bob@bank.example>", "", errFromSyntax},
	{"From: <@bank.example:alice@example.org>", "", errFromSyntax},
	{"From: <alice@example.org", "", errFromSyntax},
	{"From: \"alice@example.org", "", errFromSyntax},
	{"From: (alice@example.org", "", errFromSyntax},
	{"From: alice@example.org\x00", "", errFromSyntax},
	{"From: a@example.org; b@example.org", "", errFromSyntax},
	{"From: a@b: c@example.org;", "", errFromSyntax},
	{"From: a: b: c@example.org;;", "", errFromSyntax},
	{"From: " + strings.Repeat("a", maxFrom) + "@example.org", "", errFromSyntax},
}

func TestAuthorDomain(t *testing.T) {
	t.Parallel()
	for _, c := range authorCases {
		got, err := authorDomain([]byte(c.header + "\r\n\r\nbody\r\n"))
		if got != c.domain || !errors.Is(err, c.err) {
			t.Errorf("%.80q: got %q, %v; want %q, %v", c.header, got, err, c.domain, c.err)
		}
	}
}

// FuzzAuthorDomain holds us against net/mail: where both read the field, they must read the same domain.
func FuzzAuthorDomain(f *testing.F) {
	for _, c := range authorCases {
		if body, ok := strings.CutPrefix(c.header, "From:"); ok && len(body) < 200 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		domain, err := domainOfMailboxes(body)
		if err != nil {
			if domain != "" {
				t.Fatalf("domain %q with error %v", domain, err)
			}
			return
		}
		if again, ok := normalDomain(domain); !ok || again != domain {
			t.Fatalf("domain %q is not normal", domain)
		}
		list, err := mail.ParseAddressList(body)
		if err != nil {
			return
		}
		for _, a := range list {
			theirs, _ := normalDomain(a.Address[strings.LastIndexByte(a.Address, '@')+1:])
			if theirs != domain {
				t.Fatalf("%q: we read %q, net/mail %q", body, domain, theirs)
			}
		}
	})
}
