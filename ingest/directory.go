package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// DirectoryOptions are what a Directory is made of. Log is required.
type DirectoryOptions struct {
	Domains []Domain
	Log     *slog.Logger
	// HTTP makes all callouts, whatever Callout.Control says; nil means a client for each. Redirects are answers like others.
	HTTP *http.Client
	// Registerer takes the metrics; several directories, one after the other, share them. nil registers none.
	Registerer prometheus.Registerer
	// Now is the clock of caches, quotas and guards; nil means time.Now.
	Now func() time.Time
}

// Directory is a Recipients made of configured domains and of what changes while the server runs: files, callouts,
// quotas and guards. The rules of Domains hold: blocked recipients are refused, then the domain's own patterns, its file
// and its callout are asked in this order.
//
// Quotas, guards and caches are those of one process; several nodes count each for itself.
type Directory struct {
	domains  *Domains
	log      *slog.Logger
	now      func() time.Time
	http     *http.Client // nil: each callout has its own
	asked    []*callout
	slots    chan struct{} // one for each callout under way
	registry prometheus.Registerer
	callouts *prometheus.CounterVec
	files    prometheus.Counter
}

// maxCallouts is the number of callouts at once.
const maxCallouts = 64

// NewDirectory compiles the domains and reads their files. Its error lists every mistake, like that of NewDomains. The
// caller must call Close.
func NewDirectory(o DirectoryOptions) (*Directory, error) {
	domains, err := NewDomains(o.Domains)
	if err != nil {
		return nil, err
	}
	d := &Directory{
		domains: domains, log: o.Log, now: o.Now, http: o.HTTP, slots: make(chan struct{}, maxCallouts), registry: o.Registerer,
		callouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_recipient_callouts_total", Help: "Recipients asked for by HTTP, by result (known, unknown, blocked, failed).",
		}, []string{"result"}),
		files: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mxhook_recipient_file_errors_total", Help: "Changed files of recipients that could not be used; the old ones stay in force.",
		}),
	}
	if d.now == nil {
		d.now = time.Now
	}
	var errs []error
	for _, c := range o.Domains {
		errs = append(errs, d.enliven(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, c := range []prometheus.Collector{d.callouts, d.files} {
		if d.registry == nil {
			break
		}
		var there prometheus.AlreadyRegisteredError
		switch err := d.registry.Register(c); {
		case errors.As(err, &there):
			d.share(there.ExistingCollector)
		case err != nil:
			return nil, fmt.Errorf("register recipient metrics: %w", err)
		}
	}
	return d, nil
}

// share counts where a directory before this one counts already.
func (d *Directory) share(c prometheus.Collector) {
	switch c := c.(type) {
	case *prometheus.CounterVec:
		d.callouts = c
	case prometheus.Counter:
		d.files = c
	}
}

// Close gives back idle connections. Calls of Accepts may go on. The metrics stay, for the directory that comes next.
func (d *Directory) Close() {
	for _, c := range d.asked {
		c.client.CloseIdleConnections()
	}
}

// liveDomain is the part of a domain that changes.
type liveDomain struct {
	file    *recipientFile // nil: none
	callout *callout       // nil: none
	quota   *limiter[string]
	guard   *guard // nil: none
}

func (d *Directory) enliven(c Domain) error {
	dom := d.domains.compiled(c.Name)
	dom.live = &liveDomain{quota: newLimiter[string](c.Quota, time.Hour)}
	if c.Guard != nil {
		dom.live.guard = newGuard(*c.Guard)
	}
	if c.Callout != nil {
		var err error
		if dom.live.callout, err = newCallout(*c.Callout, d); err != nil {
			return fmt.Errorf("domain %q: %w", c.Name, err)
		}
		d.asked = append(d.asked, dom.live.callout)
	}
	if c.File != "" {
		dom.live.file = &recipientFile{path: c.File, sensitive: c.CaseSensitive}
		if err := dom.live.file.load(d.now()); err != nil {
			return fmt.Errorf("domain %q: %w", c.Name, err)
		}
	}
	return nil
}

// Configured returns the name, as it was configured, of the domain that decides about a domain; "" when there is none.
func (d *Directory) Configured(domain string) string {
	if dom := d.domains.domainOf(domain); dom != nil {
		return dom.name
	}
	return ""
}

// Accepts implements Recipients.
func (d *Directory) Accepts(ctx context.Context, rcpt Address) (pipeline.Recipient, error) {
	f, err := d.domains.find(rcpt)
	if err != nil {
		return pipeline.Recipient{}, err
	}
	if f.postmaster {
		return f.recipient, nil
	}
	live, now := f.domain.live, d.now()
	key := f.domain.recipients.fold(f.recipient.Local) + "@" + f.recipient.Domain
	if !f.known && live.file != nil {
		f.recipient.Captures, f.known = live.file.match(f.whole, f.recipient.Local, now, d)
	}
	if !f.known && live.callout != nil {
		if err := live.callout.ask(ctx, f.recipient, now); err == nil {
			f.known = true
		} else if err != replyUnknownRecipient || !f.domain.recipients.all {
			return pipeline.Recipient{}, err
		}
	}
	switch {
	case f.known:
	case !f.domain.recipients.all:
		return pipeline.Recipient{}, replyUnknownRecipient
	case live.guard != nil && !live.guard.allow(key, now):
		return pipeline.Recipient{}, live.guard.refusal
	}
	if !live.quota.wouldAllow(key, now) {
		return pipeline.Recipient{}, replyQuota
	}
	return f.recipient, nil
}

// Stored implements Counter: quotas count messages, not tries.
func (d *Directory) Stored(_ context.Context, rcpts []pipeline.Recipient) {
	now := d.now()
	for i := range rcpts {
		r := &rcpts[i]
		if dom := d.domains.domainOf(r.Domain); dom != nil && !IsPostmaster(r.Local) {
			dom.live.quota.allow(dom.recipients.fold(r.Local)+"@"+r.Domain, now)
		}
	}
}

// Guard protects a domain that accepts every local part against a flood of made-up ones: addresses that had mail before
// go on to be accepted, new ones only as many as it allows.
type Guard struct {
	// New is the number of addresses in an hour that never had mail before. Default 100.
	New int
	// Permanent refuses the others with 550 5.1.1 instead of 450 4.7.1.
	Permanent bool
}

// Bounds of what a guard remembers: an address for at least a week, when there are fewer than this.
const (
	guardMemory = 7 * 24 * time.Hour
	maxGuarded  = 100_000
)

// guard is a Guard at work.
type guard struct {
	refusal *Reply
	fresh   *limiter[struct{}]

	mu    sync.Mutex
	known *aging[string, struct{}]
}

func newGuard(g Guard) *guard {
	refusal := replyGuardDefers
	if g.Permanent {
		refusal = replyUnknownRecipient
	}
	return &guard{
		refusal: refusal, fresh: newLimiter[struct{}](cmp.Or(g.New, 100), time.Hour),
		known: newAging[string, struct{}](guardMemory, maxGuarded),
	}
}

func (g *guard) allow(address string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.known.get(address, now); ok {
		return true
	}
	if !g.fresh.allow(struct{}{}, now) {
		return false
	}
	g.known.put(address, struct{}{}, now)
	return true
}
