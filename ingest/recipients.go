package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mxhook/pipeline"
)

// Recipients decides which forward-paths are ours. It is called concurrently.
//
// A *Reply in the error's chain is what the client hears, if its code is 4xx or 5xx; any other error is 451 4.3.0, and
// its text is only logged.
type Recipients interface {
	Accepts(ctx context.Context, rcpt Address) (pipeline.Recipient, error)
}

// Domain is a domain that mail is taken for.
type Domain struct {
	// Name is "example.com", or "*.example.com" for every name one level below, or "**.example.com" for every name
	// at any depth below. Neither covers example.com itself. U-labels and A-labels mean the same.
	Name string
	// Recipients are patterns of local parts: exact ("support"), with wildcards ("reply+*"), or a regular expression
	// (RE2) between slashes ("/^ticket-(?<id>[0-9]+)$/") whose named groups become the recipient's captures; without
	// ^ and $ it may match a part. No pattern at all accepts every local part.
	Recipients []string
	// TagSeparator is what separates a tag from the rest of a local part: "" means "+", NoTags that there are none.
	TagSeparator string
}

// NoTags as a TagSeparator switches tags off.
const NoTags = "none"

// Domains is a Recipients made of configured domains. It never changes and may be shared; to change the configuration,
// make another one. A lookup costs the same for one and for 100,000 exact recipients.
//
// The domain that is looked at is the one with that exact name; without one, "*." of the parent; without one, the
// longest "**." that fits. Only that one: a recipient it does not know is refused even when another domain with a
// wildcard has it.
//
// Local parts match in any case. With a tag ("support+42"), both the whole local part and the one without tag
// ("support") can match. The first of these wins: an exact pattern for the whole, an exact pattern for the part without
// tag, then the other patterns in the order they are written, each tried on the whole first. Whichever matched, the
// recipient is split into local part and tag. Postmaster is accepted in every domain (RFC 5321 4.5.1).
type Domains struct {
	exact    map[string]*domain
	oneLevel map[string]*domain // by the parent
	anyDepth map[string]*domain // by the ancestor
	// home is where <postmaster> without a domain goes: the first configured domain.
	home string
}

// domain is a compiled Domain.
type domain struct {
	separator string
	all       bool
	exact     map[string]struct{}
	patterns  []localPattern
}

// NewDomains compiles the configured domains. Its error lists every mistake, one a line, each with the domain, the
// pattern and what to do.
func NewDomains(configured []Domain) (*Domains, error) {
	d := &Domains{exact: map[string]*domain{}, oneLevel: map[string]*domain{}, anyDepth: map[string]*domain{}}
	var errs []error
	for _, c := range configured {
		if err := d.add(c); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d, nil
}

// add compiles one domain into the table it belongs to.
func (d *Domains) add(c Domain) error {
	table, base := d.exact, c.Name
	if rest, ok := strings.CutPrefix(c.Name, "**."); ok {
		table, base = d.anyDepth, rest
	} else if rest, ok := strings.CutPrefix(c.Name, "*."); ok {
		table, base = d.oneLevel, rest
	}
	name, err := parseDomain(base)
	if err != nil {
		return fmt.Errorf("domain %q: %w; write a name like example.com, *.example.com or **.example.com", c.Name, err)
	}
	if table[name] != nil {
		return fmt.Errorf("domain %q: configured twice; put all of its recipients into one entry", c.Name)
	}
	compiled, err := compileDomain(c)
	if err != nil {
		return err
	}
	table[name] = compiled
	if d.home == "" {
		d.home = name
	}
	return nil
}

func compileDomain(c Domain) (*domain, error) {
	compiled := &domain{separator: c.TagSeparator, all: len(c.Recipients) == 0, exact: make(map[string]struct{}, len(c.Recipients))}
	switch c.TagSeparator {
	case "":
		compiled.separator = "+"
	case NoTags:
		compiled.separator = ""
	default:
		if strings.ContainsFunc(c.TagSeparator, func(r rune) bool { return r == '*' || r != '.' && !isAtext(r, 2) }) {
			return nil, fmt.Errorf("domain %q: tag separator %q cannot stand in a local part; use one like + or -, or %q", c.Name, c.TagSeparator, NoTags)
		}
	}
	var errs []error
	for _, pattern := range c.Recipients {
		if err := compiled.add(pattern); err != nil {
			errs = append(errs, fmt.Errorf("domain %q, recipient %q: %w", c.Name, pattern, err))
		}
	}
	return compiled, errors.Join(errs...)
}

// Accepts implements Recipients.
func (d *Domains) Accepts(_ context.Context, rcpt Address) (pipeline.Recipient, error) {
	name := rcpt.Domain
	if name == "" && d.home != "" { // only <postmaster> has no domain
		return pipeline.Recipient{Address: rcpt.wire + "@" + d.home, Local: rcpt.Local, Domain: d.home}, nil
	}
	dom := d.find(name)
	if dom == nil {
		return pipeline.Recipient{}, replyRelayRefused
	}
	local, tag := dom.split(rcpt.Local)
	captures, ok := dom.match(rcpt.Local, local)
	if !ok && !strings.EqualFold(local, "postmaster") {
		return pipeline.Recipient{}, replyUnknownRecipient
	}
	return pipeline.Recipient{Address: rcpt.String(), Local: local, Tag: tag, Domain: name, Captures: captures}, nil
}

// find returns the configured domain that a name belongs to, or nil.
func (d *Domains) find(name string) *domain {
	if dom := d.exact[name]; dom != nil {
		return dom
	}
	_, parent, _ := strings.Cut(name, ".")
	if dom := d.oneLevel[parent]; dom != nil {
		return dom
	}
	for ; parent != ""; _, parent, _ = strings.Cut(parent, ".") {
		if dom := d.anyDepth[parent]; dom != nil {
			return dom
		}
	}
	return nil
}

// split cuts the tag off a local part, at the first separator that is not at its start.
func (d *domain) split(local string) (base, tag string) {
	if d.separator != "" {
		if i := strings.Index(local, d.separator); i > 0 {
			return local[:i], local[i+len(d.separator):]
		}
	}
	return local, ""
}

// match reports whether the local part is accepted, whole or without its tag, and what the pattern captured.
func (d *domain) match(whole, base string) (map[string]string, bool) {
	if d.all {
		return nil, true
	}
	if len(d.exact) > 0 {
		if _, ok := d.exact[foldLocal(whole)]; ok {
			return nil, true
		}
		if _, ok := d.exact[foldLocal(base)]; ok {
			return nil, true
		}
	}
	for _, p := range d.patterns {
		if captures, ok := p.match(whole); ok {
			return captures, true
		}
		if captures, ok := p.match(base); ok && base != whole {
			return captures, true
		}
	}
	return nil, false
}
