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

// Counter is a Recipients that is told which of those it accepted got a message. It is called concurrently, after the
// message became durable, with the context of Accepts.
type Counter interface {
	Stored(ctx context.Context, rcpts []pipeline.Recipient)
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
	// CaseSensitive makes patterns match local parts only in the case they are written in. Postmaster is postmaster in
	// any case.
	CaseSensitive bool
	// Blocked are patterns of local parts that are refused, whatever else accepts them.
	Blocked []string
	// File names a file with more Recipients, one pattern a line; empty lines and lines that start with # do not count.
	// It is read again when it has changed. With a File or a Callout, no Recipients means none besides theirs.
	// Only a Directory reads it.
	File string
	// Callout asks somebody else for recipients that neither Recipients nor File has; nil: nobody. Only a Directory does.
	Callout *Callout
	// Quota is the number of messages that one recipient gets in an hour; more get 450 4.2.1. 0: no limit. Only a
	// Directory counts.
	Quota int
	// Guard protects the pattern for everything; nil: it does not. Only a Directory has it.
	Guard *Guard
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
	name       string // as it was configured
	separator  string
	recipients *localPatterns
	blocked    *localPatterns
	live       *liveDomain // nil in a Domains of its own
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

// tableOf returns the table that a configured name belongs to, and its key there, not yet checked.
func (d *Domains) tableOf(configured string) (table map[string]*domain, base string) {
	if rest, ok := strings.CutPrefix(configured, "**."); ok {
		return d.anyDepth, rest
	} else if rest, ok := strings.CutPrefix(configured, "*."); ok {
		return d.oneLevel, rest
	}
	return d.exact, configured
}

// compiled returns the domain of a name as it was configured.
func (d *Domains) compiled(configured string) *domain {
	table, base := d.tableOf(configured)
	name, _ := parseDomain(base) // it was compiled
	return table[name]
}

// add compiles one domain into the table it belongs to.
func (d *Domains) add(c Domain) error {
	table, base := d.tableOf(c.Name)
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
	compiled := &domain{
		name: c.Name, separator: c.TagSeparator,
		recipients: newLocalPatterns(c.CaseSensitive, len(c.Recipients)), blocked: newLocalPatterns(c.CaseSensitive, len(c.Blocked)),
	}
	compiled.recipients.all = len(c.Recipients) == 0 && c.File == "" && c.Callout == nil
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
	add := func(to *localPatterns, what string, patterns []string) {
		for _, pattern := range patterns {
			if err := to.add(pattern); err != nil {
				errs = append(errs, fmt.Errorf("domain %q, %s %q: %w", c.Name, what, pattern, err))
			}
		}
	}
	add(compiled.recipients, "recipient", c.Recipients)
	add(compiled.blocked, "blocked recipient", c.Blocked)
	return compiled, errors.Join(errs...)
}

// Accepts implements Recipients.
func (d *Domains) Accepts(_ context.Context, rcpt Address) (pipeline.Recipient, error) {
	f, err := d.find(rcpt)
	if err != nil {
		return pipeline.Recipient{}, err
	}
	if !f.known && !f.domain.recipients.all {
		return pipeline.Recipient{}, replyUnknownRecipient
	}
	return f.recipient, nil
}

// found is what the configuration says of an address.
type found struct {
	recipient pipeline.Recipient
	domain    *domain
	whole     string // the local part, with its tag
	// known says that a pattern has it, or that it is a postmaster; not the pattern for everything.
	known, postmaster bool
}

// find looks an address up. Its error is a reply that nothing can change.
func (d *Domains) find(rcpt Address) (found, error) {
	name := rcpt.Domain
	if name == "" && d.home != "" { // only <postmaster> has no domain
		return found{
			recipient: pipeline.Recipient{Address: rcpt.wire + "@" + d.home, Local: rcpt.Local, Domain: d.home},
			domain:    d.domainOf(d.home), whole: rcpt.Local, known: true, postmaster: true,
		}, nil
	}
	dom := d.domainOf(name)
	if dom == nil {
		return found{}, replyRelayRefused
	}
	local, tag := dom.split(rcpt.Local)
	f := found{
		recipient: pipeline.Recipient{Address: rcpt.String(), Local: local, Tag: tag, Domain: name},
		domain:    dom, whole: rcpt.Local, postmaster: IsPostmaster(local),
	}
	if !f.postmaster {
		if _, blocked := dom.blocked.match(rcpt.Local, local); blocked || dom.blocked.all {
			return found{}, replyBlockedRecipient
		}
	}
	f.recipient.Captures, f.known = dom.recipients.match(rcpt.Local, local)
	f.known = f.known || f.postmaster
	return f, nil
}

// domainOf returns the configured domain that a name belongs to, or nil.
func (d *Domains) domainOf(name string) *domain {
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

// IsPostmaster reports whether a local part is the one that is accepted everywhere (RFC 5321 4.5.1).
func IsPostmaster(local string) bool { return strings.EqualFold(local, "postmaster") }
