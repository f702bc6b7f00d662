// Package msgauth finds out who really sent a message: SPF, DKIM, DMARC, ARC and iprev, and from them the one verdict
// that is safe to act on.
package msgauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// Options are what a Stage needs. Zero values mean the defaults.
type Options struct {
	// Resolver answers all questions to DNS; it must not be nil.
	Resolver Resolver
	// Now is the clock that signatures expire by; time.Now.
	Now func() time.Time
	// Timeout bounds the work on one message; 20 s (RFC 7208 4.6.4). What is not known by then is a temperror.
	Timeout time.Duration
	// MaxSignatures bounds the DKIM signatures of one message that are verified; 8.
	MaxSignatures int
	// MaxLookups bounds the lookups for one message, those that the cache answers included; 200.
	MaxLookups int
	// TrustedSealers are domains (d=) whose ARC seals are believed when they say that DMARC passed.
	TrustedSealers []string
	// TrustedUpstreams are hosts that hand on mail for us.
	TrustedUpstreams []Upstream
	// Log must not be nil.
	Log *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// Stage is the pipeline's stage for message authentication. It is safe for concurrent use on different messages.
type Stage struct {
	resolver      Resolver
	now           func() time.Time
	timeout       time.Duration
	maxSignatures int
	maxLookups    int
	sealers       map[string]bool
	keys          *parsedKeys
	upstreams     []Upstream
	log           *slog.Logger
	metrics       *stageMetrics
}

// New returns a stage.
func New(o Options) *Stage {
	s := &Stage{
		resolver:      o.Resolver,
		now:           o.Now,
		timeout:       cmp.Or(o.Timeout, 20*time.Second),
		maxSignatures: cmp.Or(o.MaxSignatures, 8),
		maxLookups:    cmp.Or(o.MaxLookups, 200),
		sealers:       make(map[string]bool),
		upstreams:     o.TrustedUpstreams,
		log:           o.Log,
		metrics:       newStageMetrics(o.Registerer),
	}
	s.keys, _ = lru.New[string, *publicKey](maxParsedKeys) // fails for a size below 1 only
	if s.now == nil {
		s.now = time.Now
	}
	for _, d := range o.TrustedSealers {
		if d, ok := normalDomain(d); ok {
			s.sealers[d] = true
		}
	}
	return s
}

// checks is what the methods found, each written by one goroutine.
type checks struct {
	origin    origin
	spf       spfResults
	dkim      []dkimResult
	problems  []pipeline.Problem
	arc       arcResult
	iprev     pipeline.IPRevResult
	author    string
	authorErr error
	tricks    []pipeline.Problem
	walker    *walker
	dmarc     discovery
	// dmarcSaid: a trusted upstream says that DMARC passed for the author.
	dmarcSaid bool
}

// Run implements pipeline.Stage: it sets m.Auth and adds to m.Problems. It looks at the envelope and at Raw only, so it
// may run before or after the parser. What is wrong with the message or with DNS is a result; the only error is that ctx
// ended before the work was done. A message that has its results keeps them, since keys and records change.
func (s *Stage) Run(ctx context.Context, m *pipeline.Message) error {
	if m.Auth != nil {
		return nil
	}
	start := time.Now()
	work, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	one := *s // of this message, with a budget of its own
	one.resolver = newBudget(s.resolver, s.maxLookups)
	c := one.check(work, m)
	auth := c.results(m, s.sealers)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("authenticate message %s: %w", m.Envelope.ID, err)
	}
	m.Auth = auth
	m.Problems = append(m.Problems, c.problems...)
	m.Problems = append(m.Problems, c.tricks...)
	m.Problems = append(m.Problems, forgedProblems(m)...)
	s.count(auth)
	s.metrics.seconds.Observe(time.Since(start).Seconds())
	s.log.Debug("message authenticated", "message", m.Envelope.ID, "verified", auth.Sender.Verified,
		"domain", auth.Sender.Domain, "spf", auth.SPF.Result, "dmarc", auth.DMARC.Result, "signatures", len(auth.DKIM))
	return nil
}

// check runs the methods side by side and waits for all of them: most of the time goes into waiting for DNS.
func (s *Stage) check(ctx context.Context, m *pipeline.Message) *checks {
	const broken = "internal error"
	c := &checks{
		// What stands here is the result when a method panics.
		spf:    spfResults{main: pipeline.SPFResult{Result: pipeline.ResultTempError, Identity: identityMailFrom, Reason: broken}},
		arc:    arcResult{result: pipeline.ResultTempError, reason: broken},
		iprev:  pipeline.IPRevResult{Result: pipeline.ResultTempError},
		walker: &walker{ctx: ctx, resolver: s.resolver, seen: make(map[string]lookedUp)},
	}
	c.origin = origin{client: m.Envelope.Client}
	s.guard(m, "upstream", func() { c.origin = s.originOf(m) })
	s.guard(m, "author", func() { c.tricks = authorProblems(m.Raw) })
	c.author, c.authorErr = authorDomain(m.Raw)
	at := m.Envelope.ReceivedAt // however long the message has waited for us
	if at.IsZero() {
		at = s.now()
	}
	c.dmarc = discovery{domain: c.author, err: errors.New(broken)}

	var wg sync.WaitGroup
	run := func(method string, check func()) {
		wg.Go(func() { s.guard(m, method, check) })
	}
	env := m.Envelope
	env.Client = c.origin.client
	run("spf", func() { c.spf = s.checkSPF(ctx, &env) })
	if hasChain(m.Raw) {
		run("arc", func() { c.arc = s.checkARC(ctx, m.Raw, at) })
	} else {
		c.arc = arcResult{result: pipeline.ResultNone}
	}
	run("iprev", func() { c.iprev = s.checkIPRev(ctx, env.Client.IP) })
	if c.authorErr == nil {
		run("dmarc", func() { c.dmarc = s.discover(c.walker, c.author) })
	}
	s.guard(m, "dkim", func() { c.dkim, c.problems = s.checkDKIM(ctx, m.Raw, at) }) // most of the work: here, in place of waiting
	wg.Wait()
	return c
}

// guard keeps a panic over one message (we read octets from strangers here) from ending the process.
func (s *Stage) guard(m *pipeline.Message, method string, check func()) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("message authentication broke", "message", m.Envelope.ID, "method", method, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	check()
}

// results puts the findings together.
func (c *checks) results(m *pipeline.Message, sealers map[string]bool) *pipeline.AuthResults {
	c.believe(c.origin.results)
	auth := &pipeline.AuthResults{
		SPF:      c.spf.main,
		DKIM:     []pipeline.DKIMResult{},
		ARC:      pipeline.ARCResult{Result: c.arc.result, Sealers: c.arc.sealers(), Trusted: c.arc.trusted(sealers)},
		IPRev:    c.iprev,
		Upstream: c.origin.upstream,
	}
	var aligned []bool
	auth.DMARC, aligned = c.dmarc.evaluate(c.walker, c.authorErr, c.spf.main, c.dkim)
	if c.dmarcSaid && auth.DMARC.Result != pipeline.ResultPass {
		auth.DMARC.Result, auth.DMARC.Reason = pipeline.ResultPass, "a trusted upstream says so"
	}
	for i, d := range c.dkim {
		auth.DKIM = append(auth.DKIM, pipeline.DKIMResult{
			Result: d.result, Domain: d.domain, Selector: clean(d.selector), Algorithm: clean(d.algorithm),
			Aligned: aligned[i], Reason: clean(d.reason),
		})
	}
	auth.SPF.Reason = clean(auth.SPF.Reason)
	auth.DMARC.Reason = clean(auth.DMARC.Reason)
	auth.Sender = senderOf(auth.DMARC, c.arc.vouchesFor(c.author, sealers))
	env := m.Envelope
	env.Client = c.origin.client
	auth.Field = field(&env, auth, c)
	return auth
}

func (s *Stage) count(auth *pipeline.AuthResults) {
	add := func(method, result string) { s.metrics.results.WithLabelValues(method, result).Inc() }
	add("spf", auth.SPF.Result)
	for _, d := range auth.DKIM {
		add("dkim", d.Result)
	}
	if len(auth.DKIM) == 0 {
		add("dkim", pipeline.ResultNone)
	}
	add("dmarc", auth.DMARC.Result)
	add("arc", auth.ARC.Result)
	add("iprev", auth.IPRev.Result)
	verified := pipeline.ResultFail
	if auth.Sender.Verified {
		verified = pipeline.ResultPass
	}
	add("sender", verified)
}

// forgedProblems tells of Authentication-Results fields in our name that came in with the message.
func forgedProblems(m *pipeline.Message) []pipeline.Problem {
	n := 0
	for f := range pipeline.Fields(m.Raw) {
		if pipeline.ForgedResults(f, m.Envelope.Hostname) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []pipeline.Problem{{
		Code: "authentication-results-forged", Where: "Authentication-Results", Detail: fmt.Sprintf("%d fields in our name", n),
	}}
}
