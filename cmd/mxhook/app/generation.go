package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/rules"
	"mxhook/sinks"
)

// generation is everything that a reload replaces, as one: a transaction is answered by one generation from its first
// recipient on, and a message is routed and first attempted by one. It does not change.
type generation struct {
	number int
	config *configs.Config
	// directory is that of the generation before when the domains are the same: what it has counted goes on.
	directory *ingest.Directory
	table     *rules.Table
	signed    []*rules.SignedAddress
	// returns are the addresses that relays made of reverse-paths.
	returns []returnAddress
	// refusing are the domains, as they are configured, that refuse by DMARC.
	refusing map[string]bool
	// apart are the sinks that senders wait for which get each recipient by itself.
	apart map[string]bool
	// outlets are nil when nothing is delivered, and plan too.
	outlets []pipeline.Outlet
	plan    *pipeline.Plan
	// files is the fingerprint of the files that the configuration was read from.
	files string
}

// newGeneration makes the one that follows previous, which is nil for the first.
func newGeneration(cfg *configs.Config, previous *generation, o Options, registry prometheus.Registerer) (*generation, error) {
	g := &generation{number: 1, config: cfg, signed: cfg.SignedAddresses(), files: fingerprint(cfg.Files())}
	if previous != nil {
		g.number = previous.number + 1
	}
	g.refusing, g.apart = refusingDomains(cfg), apartSinks(cfg)
	for _, r := range cfg.ReturnAddresses() {
		g.returns = append(g.returns, r)
	}
	var err error
	if g.table, err = cfg.Table(); err != nil {
		return nil, fmt.Errorf("compile the rules: %w", err)
	}
	if previous != nil && reflect.DeepEqual(previous.config.Domains, cfg.Domains) {
		g.directory = previous.directory
		return g, nil
	}
	g.directory, err = ingest.NewDirectory(ingest.DirectoryOptions{Domains: cfg.IngestDomains(), Log: o.Log, Registerer: registry, Now: o.Now})
	return g, err
}

// buildSinks makes the outlets and the plan. A sink that is configured as it was before stays the same one, with its
// connections and its slots.
func (g *generation) buildSinks(o Options, registry prometheus.Registerer, previous *generation) error {
	kept := map[string]pipeline.Outlet{}
	if previous != nil {
		for i, s := range previous.config.Sinks {
			if j := slices.IndexFunc(g.config.Sinks, func(n configs.Sink) bool { return n.Name == s.Name }); j >= 0 &&
				reflect.DeepEqual(g.config.Sinks[j], s) {
				kept[s.Name] = previous.outlets[i]
			}
		}
	}
	var fresh []sinks.Config
	for _, c := range g.config.SinkConfigs() {
		if _, ok := kept[c.Name]; !ok {
			fresh = append(fresh, c)
		}
	}
	deps := sinks.Deps{Log: o.Log, Registerer: registry, Now: o.Now, Version: o.Version}
	deps.Resolver, deps.Seal = o.Resolver, seal(o.Now)
	if o.links != nil {
		deps.Link = o.links.URL
	}
	built, err := sinks.Build(fresh, deps)
	if err != nil {
		return fmt.Errorf("build the sinks: %w", err)
	}
	for _, c := range g.config.Sinks { // outlets[i] is that of config.Sinks[i]
		out, ok := kept[c.Name]
		if !ok {
			out, built = built[0], built[1:]
		}
		g.outlets = append(g.outlets, out)
	}
	g.plan = pipeline.NewPlan(pipeline.PlanOptions{Generation: g.number, Router: told{g, o.Log}, Outlets: g.outlets})
	return nil
}

// without returns the outlets that the next generation does not have any more.
func (g *generation) without(next *generation) []pipeline.Outlet {
	var gone []pipeline.Outlet
	for _, out := range g.outlets {
		if !slices.ContainsFunc(next.outlets, func(n pipeline.Outlet) bool { return n.Sink == out.Sink }) {
			gone = append(gone, out)
		}
	}
	return gone
}

// Replies to addresses whose token is wrong. The first is what an unknown address gets: who guesses learns nothing.
var (
	replyNotSigned = &ingest.Reply{Code: 550, Status: "5.1.1", Text: "No such recipient here"}
	replyExpired   = &ingest.Reply{Code: 550, Status: "5.7.1", Text: "This address is no longer valid"}
)

// returnAddress is a scheme of addresses that bounces come back to (SRS). Check says why a mail with that reverse-path must
// not go to an address that it owns.
type returnAddress interface {
	Owns(address string) bool
	Check(address, reversePath string) error
}

// mayReturn reports whether a recipient is no return address, or one that some relay made and this mail may go to.
func (g *generation) mayReturn(address, reversePath string) bool {
	owned := false
	for _, r := range g.returns {
		if r.Owns(address) {
			if r.Check(address, reversePath) == nil {
				return true
			}
			owned = true
		}
	}
	return !owned
}

// accepts decides about a recipient: the domains, the tokens of signed addresses, and the rules that are decided before
// the message is there, in this order. env is what is known of the transaction. The decision is that of the rules, as far as they were asked.
func (g *generation) accepts(ctx context.Context, env *pipeline.Envelope, rcpt ingest.Address, log *slog.Logger) (r pipeline.Recipient, d rules.Decision, err error) {
	if r, err = g.directory.Accepts(ctx, rcpt); err != nil {
		return r, d, err
	}
	if !g.mayReturn(r.Address, env.ReversePath) {
		return r, d, replyNotSigned
	}
	for _, s := range g.signed {
		if !s.Owns(r.Address) {
			continue
		}
		payload, err := s.Check(r.Address, env.ReceivedAt)
		switch {
		case errors.Is(err, rules.ErrExpired):
			return r, d, replyExpired
		case err != nil:
			return r, d, replyNotSigned
		}
		captures := maps.Clone(r.Captures)
		if captures == nil {
			captures = map[string]string{}
		}
		captures["token"] = payload
		r.Captures = captures
	}
	d = g.table.Early(env, &r)
	for _, p := range d.Problems {
		log.Warn("a rule failed at RCPT", "message", env.ID, "rule", p.Where, "error", p.Detail)
	}
	if d.Reply != nil {
		log.Info("recipient refused by a rule", "message", env.ID, "rule", d.Rule, "generation", g.number, "code", d.Reply.Code)
		return r, d, &ingest.Reply{Code: d.Reply.Code, Status: d.Reply.Status, Text: d.Reply.Text}
	}
	return r, d, nil
}

// front is what the front end asks about recipients.
type front struct {
	current *atomic.Pointer[generation]
	// lmtp are the listeners whose clients get a reply for each recipient.
	lmtp map[string]bool
	log  *slog.Logger
}

func newFront(o Options, current *atomic.Pointer[generation]) *front {
	return &front{current: current, lmtp: lmtpListeners(o.Config), log: o.Log}
}

// lmtpListeners are the listeners whose clients get a reply for each recipient.
func lmtpListeners(cfg *configs.Config) map[string]bool {
	lmtp := map[string]bool{}
	for _, l := range cfg.SMTP.Listeners {
		lmtp[l.Name] = l.Protocol == ingest.ProtocolLMTP
	}
	return lmtp
}

// Accepts implements ingest.Recipients. All recipients of a transaction are decided by the generation that decided the
// first.
func (f *front) Accepts(ctx context.Context, rcpt ingest.Address) (pipeline.Recipient, error) {
	t := ingest.TransactionOf(ctx)
	if t == nil {
		return pipeline.Recipient{}, errors.New("asked for a recipient outside of a transaction")
	}
	state, ok := t.State.(*transaction)
	if !ok {
		state = &transaction{generation: f.current.Load()}
		t.State = state
	}
	r, decision, err := state.accepts(ctx, &t.Envelope, rcpt, f.log)
	if err != nil {
		return r, err
	}
	refuses, lmtp := state.refuses(r), f.lmtp[t.Envelope.Listener]
	if state.decided && state.refusing != refuses && !lmtp || !state.held.fits(!state.decided, lmtp, decision, r) {
		return r, replyOtherPolicy
	}
	state.decided, state.refusing = true, refuses
	state.held.take(state.generation, decision, r)
	return r, nil
}

// transaction is what the front end's recipients have in common: the generation that decides about all of them, and, where
// there is one reply for all, whether they may be refused by DMARC, and whose answer the sender waits for.
type transaction struct {
	*generation
	decided, refusing bool
	held              held
}

// inTransaction returns the state of the transaction that ctx belongs to; nil when no recipient was asked for in it.
func inTransaction(ctx context.Context) *transaction {
	t := ingest.TransactionOf(ctx)
	if t == nil {
		return nil
	}
	state, _ := t.State.(*transaction)
	return state
}

// Stored implements ingest.Counter, for the generation that accepted the recipients.
func (f *front) Stored(ctx context.Context, rcpts []pipeline.Recipient) {
	if t := inTransaction(ctx); t != nil {
		t.directory.Stored(ctx, rcpts)
	}
}
