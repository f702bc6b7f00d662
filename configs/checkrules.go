package configs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/rules"
	"mxhook/sinks"
)

// maxListEntries bounds a list, over its file and its values.
const maxListEntries = 1_000_000

// lists reads the files of lists.
func (c *checker) lists() {
	seen := map[string]bool{}
	for i, l := range c.cfg.Lists {
		key := fmt.Sprintf("lists[%d]", i)
		c.name(key+".name", l.Name, "list", seen)
		entries := slices.Clone(l.Values)
		switch {
		case l.File == "" && len(l.Values) == 0 && !c.broken(key, true):
			c.add(key, "the list is empty; name a file with one entry a line, or values: [a, b]")
		case l.File != "":
			data, err := c.readFile(l.File)
			switch {
			case err != nil:
				c.add(key+".file", "the list cannot be read: %v; name a file that this user may read", err)
			case !utf8.Valid(data):
				c.add(key+".file", "%s is not a text in UTF-8; write one entry a line", l.File)
			default:
				entries = append(entries, listEntries(string(data))...)
			}
			c.cfg.files = append(c.cfg.files, l.File)
		}
		if len(entries) > maxListEntries {
			c.add(key, "the list has %d entries, at most %d are allowed", len(entries), maxListEntries)
		}
		c.cfg.lists = append(c.cfg.lists, rules.List{Name: l.Name, Entries: entries})
	}
}

// listEntries reads one entry a line; empty lines and those that begin with # are none.
func listEntries(text string) []string {
	var entries []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			entries = append(entries, line)
		}
	}
	return entries
}

// signedAddresses checks what makes them, and that their domain takes their mail.
func (c *checker) signedAddresses() {
	seen := map[string]bool{}
	for i := range c.cfg.Signed {
		a := &c.cfg.Signed[i]
		key := fmt.Sprintf("signed_addresses[%d]", i)
		c.name(key+".name", a.Name, "signed address", seen)
		if len(a.Keys) == 0 && !c.broken(key, true) {
			c.add(key+".keys", "there is no key to sign with; add keys: [\"${ADDRESS_KEY}\"], made with: openssl rand -base64 32")
		}
		for j, k := range a.Keys {
			if n := len(k.Reveal()); n < rules.MinAddressKey {
				c.add(fmt.Sprintf("%s.keys[%d]", key, j), "the key has %d bytes, at least %d are needed; make one with: openssl rand -base64 32", n, rules.MinAddressKey)
			}
		}
		c.duration(key+".valid", a.Valid, 0, 3650*day)
		if a.Address == "" {
			if !c.broken(key, true) {
				c.add(key+".address", "the address is missing; write one like reply@example.com")
			}
			continue
		}
		c.mailbox(key+".address", a.Address)
		if c.broken(key+".address", false) || c.broken("domains", true) {
			continue
		}
		signed := a.signed(c.cfg.Domains)
		switch {
		case signed.Separator == "":
			c.add(key+".address", "the domain has tag_separator: none, and the token stands in the tag; write a separator")
		case signed.MaxPayload() < 4:
			c.add(key+".address", "the local part is too long for a token behind it; at most %d characters", 64-25-len(signed.Separator))
		default:
			c.takes(key+".address", signed.Local+signed.Separator+"x@"+signed.Domain)
		}
	}
}

// takes complains when no domain takes the address.
func (c *checker) takes(key, address string) {
	domains, err := ingest.NewDomains(c.cfg.IngestDomains())
	if err != nil {
		return
	}
	parsed, err := ingest.ParseAddress(address)
	if err != nil {
		c.add(key, "%q is not a mail address: %v", address, err)
		return
	}
	if _, err := domains.Accepts(context.Background(), parsed); err != nil {
		c.add(key, "no domain takes mail for %s; add %s to the recipients of %s", address, strings.TrimSuffix(parsed.Local, "x")+"*", parsed.Domain)
	}
}

// waits checks that the sinks that senders wait for can answer.
func (c *checker) waits() {
	for i, r := range c.cfg.Rules {
		if r.Wait == nil {
			continue
		}
		key := fmt.Sprintf("rules[%d].wait", i)
		c.oneOf(key+".on_timeout", r.Wait.OnTimeout, TimeoutAccept, TimeoutDefer)
		for j := range c.cfg.Sinks {
			s := &c.cfg.Sinks[j]
			if !slices.Contains(r.To, s.Name) || s.Webhook != nil || c.broken(fmt.Sprintf("sinks[%d]", j), true) {
				continue
			}
			if kinds := s.config().Kinds(); len(kinds) > 0 {
				c.add(key, "the sink %q is of the kind %s, which gives senders no answer; name a webhook, or remove wait", s.Name, kinds[0])
			}
		}
	}
}

// WaitedFor are the sinks that senders wait for.
func (c *Config) WaitedFor() map[string]bool {
	names := map[string]bool{}
	for _, r := range c.Rules {
		if r.Wait != nil && len(r.To) == 1 {
			names[r.To[0]] = true
		}
	}
	return names
}

// KeepsApart reports whether a sink gets some recipients of a message by themselves.
func (c *Config) KeepsApart(sink string) bool {
	for i := range c.Sinks {
		if c.Sinks[i].Name != sink {
			continue
		}
		outlets, err := sinks.Build([]sinks.Config{c.Sinks[i].config()}, sinks.Deps{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return false // Load refuses it
		}
		defer sinks.Close(outlets)
		return pipeline.KeepsApart(outlets[0].Sink)
	}
	return false
}

// rules compiles them and translates what package rules finds.
func (c *checker) rules() {
	c.waits()
	if len(c.cfg.Rules) == 0 && len(c.cfg.Default) == 0 && !c.broken("rules", true) && !c.broken("default", true) {
		c.add("rules", "there is neither a rule nor a default, so all mail would become dead letters; add default: [NAME OF A SINK]")
	}
	if c.broken("lists", true) || c.broken("signed_addresses", true) {
		c.sinksOfRules() // what the conditions refer to is not known
		return
	}
	table, err := c.cfg.Table()
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			var f *rules.Finding
			if errors.As(e, &f) {
				c.finding(f)
			}
		}
	}
	switch {
	case c.broken("sinks", true): // the names of the sinks are not known
		return
	case err != nil: // unknown sinks do not depend on the conditions
		c.sinksOfRules()
		return
	}
	for _, f := range table.Check(c.sinkNames()) {
		c.finding(&f)
	}
}

// sinksOfRules looks for unknown sinks when the rules do not compile.
func (c *checker) sinksOfRules() {
	for i, r := range c.cfg.Rules {
		c.known(fmt.Sprintf("rules[%d].to", i), r.To)
		c.known(fmt.Sprintf("rules[%d].copy", i), r.Copy)
	}
	c.known("default", c.cfg.Default)
}

// known complains about sinks that there are not.
func (c *checker) known(key string, to []string) {
	names := c.sinkNames()
	for i, sink := range to {
		if !slices.Contains(names, sink) && !c.broken("sinks", true) {
			c.add(fmt.Sprintf("%s[%d]", key, i), "%s", unknownSink(sink, names))
		}
	}
}

func (c *checker) finding(f *rules.Finding) {
	key := fmt.Sprintf("rules[%d].%s", f.Rule, f.Field)
	if f.Rule < 0 {
		key = "default" + f.Field
	}
	if f.Field == "name" && f.Name == "" && c.broken(fmt.Sprintf("rules[%d]", f.Rule), true) {
		return // the key name is probably misspelt
	}
	if f.Field == "to" && c.broken(fmt.Sprintf("rules[%d]", f.Rule), true) {
		return
	}
	p := c.at(key)
	m := &Mistake{Warning: f.Warning, File: p.file, Line: p.line, Column: p.column, Env: p.env, Key: key, Text: f.Text, Snippet: f.Snippet}
	if f.Field == "when" && f.Line > 0 {
		m.Line, m.Column = f.Line, f.Column
	}
	c.note(m)
}

func (c *checker) sinkNames() []string {
	var names []string
	for _, s := range c.cfg.Sinks {
		names = append(names, s.Name)
	}
	return names
}
