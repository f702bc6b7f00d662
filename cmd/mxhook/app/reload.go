package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/console"
	"mxhook/sinks"
)

// reloads is the state of reloading.
type reloads struct {
	now func() time.Time
	// one reload at a time
	mu sync.Mutex

	generation prometheus.Gauge
	at         prometheus.Gauge
	total      *prometheus.CounterVec

	done     chan struct{} // ends watch
	wg       sync.WaitGroup
	stopping sync.Once
}

func newReloads(registry prometheus.Registerer, now func() time.Time) *reloads {
	r := &reloads{
		now: now, done: make(chan struct{}),
		generation: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mxhook_config_generation", Help: "Number of the configuration in force; the one of the start is 1.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mxhook_config_loaded_timestamp_seconds", Help: "When the configuration in force was loaded.",
		}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mxhook_config_reloads_total", Help: "Reloads by result: applied, refused.",
		}, []string{"result"}),
	}
	r.generation.Set(1)
	r.at.Set(float64(now().Unix()))
	for _, result := range []string{"applied", "refused"} {
		r.total.WithLabelValues(result)
	}
	registry.MustRegister(r.generation, r.at, r.total)
	return r
}

// Reload loads the configuration again and puts domains, recipients, rules, lists, signed addresses and sinks into force,
// all of them or none: an error means that nothing has changed. Transactions and messages under way end with what they
// began with. It returns the number of the generation that is in force after it.
func (a *App) Reload(ctx context.Context) (int, error) {
	a.reloads.mu.Lock()
	defer a.reloads.mu.Unlock()
	before := a.current.Load()
	next, err := a.prepare(ctx, before)
	if err != nil {
		a.reloads.total.WithLabelValues("refused").Inc()
		a.opts.Log.Error("the configuration was not reloaded; what was in force stays", "generation", before.number, "error", err)
		return before.number, err
	}
	a.mu.Lock()
	if a.stopped {
		a.mu.Unlock()
		sinks.Close(next.outlets)
		return before.number, errors.New("reload the configuration: stopping")
	}
	a.current.Store(next)
	if a.workers != nil {
		a.workers.adjust(next)
		a.keeper.reloaded()
	}
	if a.queue != nil {
		a.serveAPI(next)
	}
	a.mu.Unlock()
	sinks.Close(before.without(next))
	if before.directory != next.directory {
		before.directory.Close()
	}

	a.reloads.total.WithLabelValues("applied").Inc()
	a.reloads.generation.Set(float64(next.number))
	a.reloads.at.Set(float64(a.reloads.now().Unix()))
	attrs := []any{"generation", next.number, "domains", len(next.config.Domains), "rules", len(next.config.Rules), "sinks", len(next.config.Sinks)}
	if gone := removedSinks(before.config, next.config); len(gone) > 0 {
		attrs = append(attrs, "removed_sinks", gone) // what waits for them is kept
	}
	a.opts.Log.Info("configuration reloaded", attrs...)
	if late := needRestart(a.opts.Config, next.config); len(late) > 0 {
		a.opts.Log.Warn("some changes need a restart", "keys", late)
	}
	return next.number, nil
}

// Generation returns the number of the configuration in force.
func (a *App) Generation() int { return a.current.Load().number }

// prepare makes the next generation; everything that can fail happens here.
func (a *App) prepare(ctx context.Context, before *generation) (*generation, error) {
	if a.opts.Load == nil {
		return nil, errors.New("reload the configuration: it did not come from a file")
	}
	files := fingerprint(before.config.Files())
	cfg, warnings, err := a.opts.Load()
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		a.opts.Log.Warn("configuration", "warning", w.Error())
	}
	failed, err := RunTests(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("run the tests of the configuration: %w", err)
	}
	var errs []error
	for _, f := range failed {
		errs = append(errs, f)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%d of %d tests of the configuration failed: %w", len(errs), len(cfg.Tests), errors.Join(errs...))
	}
	next, err := newGeneration(cfg, before, a.opts, a.registry)
	if err != nil {
		return nil, err
	}
	if slices.Equal(cfg.Files(), before.config.Files()) {
		next.files = files // what has changed while they were read is seen at the next look
	}
	if before.plan != nil {
		if err := next.buildSinks(a.opts, a.registry, before); err != nil {
			return nil, err
		}
	}
	return next, nil
}

func removedSinks(before, after *configs.Config) []string {
	var gone []string
	for _, s := range before.Sinks {
		if !slices.ContainsFunc(after.Sinks, func(n configs.Sink) bool { return n.Name == s.Name }) {
			gone = append(gone, s.Name)
		}
	}
	return gone
}

// needRestart names the keys that differ from those that this process was started with and are not reloaded.
func needRestart(started, now *configs.Config) []string {
	var keys []string
	a, b := reflect.ValueOf(*started), reflect.ValueOf(*now)
	for i, f := range reflect.VisibleFields(a.Type()) {
		name := f.Tag.Get("yaml")
		if !f.IsExported() || slices.Contains([]string{"include", "domains", "sinks", "lists", "rules", "default", "signed_addresses", "tests"}, name) {
			continue
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			keys = append(keys, name)
		}
	}
	return keys
}

// serveAPI opens the API on the queue, or tells it of another generation. a.mu is held.
func (a *App) serveAPI(g *generation) {
	names := make([]string, len(g.config.Sinks))
	for i, s := range g.config.Sinks {
		names[i] = s.Name
	}
	a.ops.api.Store(console.New(console.Options{
		Store: store{a.queue}, States: sinkStates{a, a.queue}, Sinks: names, Token: a.opts.Config.Ops.Token.Reveal(), Log: a.opts.Log,
		Reload: a.Reload, Generation: a.Generation, Explain: a.explainer(g), Stopping: a.stopping.Done(),
	}))
}

// watch looks at the files of the configuration and reloads when one has changed and stays the same for one more look.
func (r *reloads) watch(a *App) {
	if a.opts.Watch <= 0 || a.opts.Load == nil {
		return
	}
	r.wg.Go(func() {
		tick := time.NewTicker(a.opts.Watch)
		defer tick.Stop()
		var tried, pending string
		for {
			select {
			case <-r.done:
				return
			case <-tick.C:
			}
			g := a.current.Load()
			now := fingerprint(g.config.Files())
			switch {
			case now == g.files || now == tried:
				pending = ""
			case now != pending:
				pending = now
			default:
				tried = now
				_, _ = a.Reload(a.stopping) // it has logged what is wrong, and is tried again at the next change
			}
		}
	})
}

// fingerprint changes when one of the files does.
func fingerprint(files []string) string {
	var b strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", f, err)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", f, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// stop ends watch and waits for it.
func (r *reloads) stop() {
	r.stopping.Do(func() { close(r.done) })
	r.wg.Wait()
}
