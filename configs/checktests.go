package configs

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// replyStart is a reply that refuses, or its beginning.
var replyStart = regexp.MustCompile(`^[45][0-9][0-9]( |$)`)

func (c *checker) tests() {
	seen := map[string]bool{}
	for i, t := range c.cfg.Tests {
		key := fmt.Sprintf("tests[%d]", i)
		if c.broken(key, true) {
			continue
		}
		switch {
		case t.Name == "":
			c.add(key+".name", "the test has no name; say what it shows")
		case seen[t.Name]:
			c.add(key+".name", "the name is taken by another test; choose another")
		}
		seen[t.Name] = true
		if t.Mail != "" && t.inline() {
			c.add(key+".mail", "the mail is either a file or written here; remove mail, or subject, body, headers and attachments")
		}
		if t.Time != "" {
			if _, err := time.Parse(time.RFC3339, t.Time); err != nil {
				c.add(key+".time", "%q is not a time; write 2026-11-21T19:30:00Z", t.Time)
			}
		}
		for j, h := range t.Headers {
			if name, _, ok := strings.Cut(h, ":"); !ok || name == "" || strings.ContainsAny(h, "\r\n") || strings.ContainsAny(name, " \t") {
				c.add(fmt.Sprintf("%s.headers[%d]", key, j), "%q is not a header field; write \"List-Id: <dev.example.org>\"", h)
			}
		}
		if t.Reply != "" && !replyStart.MatchString(t.Reply) {
			c.add(key+".reply", "%q is not how a reply begins; write 550, \"550 5.7.1\" or more of it", t.Reply)
		}
		if t.Reply != "" && (len(t.Expect) > 0 || len(t.Tags) > 0) {
			c.add(key+".reply", "mail that is refused reaches no sink; remove reply, or expect and tags")
		}
		if t.Recipient == "" {
			c.add(key+".recipient", "the recipient is missing; name an address")
		} else {
			c.mailbox(key+".recipient", t.Recipient)
		}
		if t.From != "" && t.From != "<>" {
			c.mailbox(key+".from", t.From)
		}
		if _, err := netip.ParseAddr(t.IP); t.IP != "" && err != nil {
			c.add(key+".ip", "%q is not an IP address", t.IP)
		}
		c.known(key+".expect", t.Expect)
	}
}
