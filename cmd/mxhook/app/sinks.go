package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/configs"
	"mxhook/console"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// sinkStates is the console's view of the sinks: those of the configuration in force, and those that deliveries wait for.
type sinkStates struct {
	app *App
	q   *queue.Queue
}

// Sinks implements console.Sinks.
func (s sinkStates) Sinks(ctx context.Context) ([]console.Sink, error) {
	st, err := s.q.Status(ctx)
	if err != nil {
		return nil, err
	}
	board := s.q.Board()
	var all []console.Sink
	for _, c := range s.app.current.Load().config.Sinks {
		v := console.NewSink(c.Name, true, board.State(c.Name))
		v.Concurrency, v.Rate = c.Concurrency, c.Rate
		all = append(all, v)
	}
	for _, name := range orphans(st, s.app.current.Load().config) {
		all = append(all, console.NewSink(name, false, board.State(name)))
	}
	for i := range all {
		waiting := st.Deliveries[all[i].Name]
		all[i].Due, all[i].Scheduled = waiting.Due, waiting.Scheduled
	}
	return all, nil
}

// PauseSink implements console.Sinks.
func (s sinkStates) PauseSink(ctx context.Context, name, reason string) error {
	if err := s.known(ctx, name); err != nil {
		return err
	}
	if err := s.q.Board().PauseSink(ctx, name, reason); err != nil {
		return err
	}
	s.app.opts.events.Emit(pipeline.Event{Kind: pipeline.EventSinkPaused, Sink: name, Reason: reason, At: s.app.opts.Now()})
	return nil
}

// ResumeSink implements console.Sinks.
func (s sinkStates) ResumeSink(ctx context.Context, name string) error {
	if s.q.Board().State(name).Pause.Since.IsZero() {
		if err := s.known(ctx, name); err != nil {
			return err
		}
	}
	if err := s.q.Board().ResumeSink(ctx, name); err != nil {
		return err
	}
	s.app.opts.events.Emit(pipeline.Event{Kind: pipeline.EventSinkResumed, Sink: name, At: s.app.opts.Now()})
	return nil
}

func (s sinkStates) known(ctx context.Context, name string) error {
	sinks, err := s.Sinks(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(sinks, func(v console.Sink) bool { return v.Name == name }) {
		return pipeline.ErrNotFound
	}
	return nil
}

// orphans are the sinks that deliveries wait for and that are not configured, sorted.
func orphans(st queue.Status, cfg *configs.Config) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(st.Deliveries)) {
		if !slices.ContainsFunc(cfg.Sinks, func(s configs.Sink) bool { return s.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// keepEvery is how often the keeper makes its round.
const keepEvery = time.Minute

// keeper looks after deliveries that nothing else comes to: those of sinks that are not configured, of which it tells,
// and those that grow too old behind an open breaker, which it gives up.
type keeper struct {
	app     *App
	q       *queue.Queue
	waiting *prometheus.GaugeVec
	told    []string
	stop    context.CancelFunc
	wg      sync.WaitGroup
	again   chan struct{}
}

func newKeeper(a *App, q *queue.Queue) *keeper {
	k := &keeper{app: a, q: q, again: make(chan struct{}, 1), waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mxhook_deliveries_without_sink", Help: "Deliveries that wait for a sink that is not configured.",
	}, []string{"sink"})}
	a.registry.MustRegister(k.waiting)
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	k.wg.Go(func() {
		tick := time.NewTicker(keepEvery)
		defer tick.Stop()
		for {
			k.round(ctx)
			select {
			case <-ctx.Done():
				return
			case <-k.again:
			case <-tick.C:
			}
		}
	})
	return k
}

// reloaded makes a round soon: there is another configuration.
func (k *keeper) reloaded() {
	select {
	case k.again <- struct{}{}:
	default:
	}
}

func (k *keeper) close() {
	k.stop()
	k.wg.Wait()
}

func (k *keeper) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepEvery)
	defer cancel()
	log, cfg := k.app.opts.Log, k.app.current.Load().config
	st, err := k.q.Status(ctx)
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("look for deliveries of sinks that are not configured", "error", err)
		}
		return
	}
	if !st.External {
		scheduled := int64(0)
		for _, w := range st.Deliveries {
			scheduled += w.Scheduled
		}
		k.app.memory.scheduled(scheduled)
	}
	names := orphans(st, cfg)
	k.waiting.Reset()
	for _, name := range names {
		n := st.Deliveries[name]
		k.waiting.WithLabelValues(name).Set(float64(n.Due + n.Scheduled))
		if !slices.Contains(k.told, name) {
			log.Error("deliveries wait for a sink that is not configured: configure it again, under the same name, and they go on",
				"sink", name, "due", n.Due, "scheduled", n.Scheduled)
		}
	}
	k.told = names
	// One worker of a fleet is enough.
	if place, n := k.q.Board().Place(); place != 0 || n == 0 {
		return
	}
	for _, s := range cfg.Sinks {
		state := k.q.Board().State(s.Name)
		if !state.Breaker.Open() || !state.Pause.Since.IsZero() {
			continue
		}
		expired, err := k.q.Expire(ctx, s.Name, time.Duration(s.Retry.MaxAge))
		if err != nil && !errors.Is(err, context.Canceled) {
			log.Warn("give up deliveries that are too old", "sink", s.Name, "error", err)
		}
		if expired > 0 {
			log.Error("deliveries were given up: their time was over while the sink's circuit breaker was open", "sink", s.Name, "deliveries", expired)
		}
	}
}
