// Package app wires the rooms of the house into a running mxhook: New binds, Start serves, Stop undoes in reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"mxhook/alerts"
	"mxhook/configs"
	"mxhook/console"
	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/pipeline/msgauth"
	"mxhook/pipeline/queue"
)

// Roles of an instance.
const (
	// RoleIngest receives mail.
	RoleIngest = "ingest"
	// RoleProcess routes and delivers it.
	RoleProcess = "process"
)

// Options are what an App is made of. Config and Log are required.
type Options struct {
	Config  *configs.Config
	Version string
	Log     *slog.Logger
	// Roles are what this instance does; none means all.
	Roles []string
	// Resolver answers DNS queries; nil means the one that Config.DNS describes.
	Resolver msgauth.Resolver
	// Listeners are already open listeners by the name of the configured one, "ops" for that of ops.address: those that
	// systemd hands over. New takes them over and closes them when it fails.
	Listeners map[string]net.Listener
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Load loads the configuration again for a reload; nil means that there are none.
	Load func() (*configs.Config, []*configs.Mistake, error)
	// Queue, if set, changes what the queue is opened with, and lets one role run alone on an embedded one; it is for
	// programs that measure.
	Queue func(*queue.Config)
	// Watch is how often the files of the configuration are looked at; 0 means never.
	Watch time.Duration

	// links are made by New; nil when there are none.
	links *console.Links
	// events is made by New.
	events pipeline.Events
}

// App is one mxhook. Its methods are safe for concurrent use.
type App struct {
	opts     Options
	registry *prometheus.Registry
	spool    *spool
	certs    *certificates  // nil without RoleIngest or without TLS
	server   *ingest.Server // nil without RoleIngest
	work     *work          // nil without RoleProcess
	ops      *ops
	queueCfg queue.Config
	// current is the generation in force: the one pointer that a reload replaces.
	current atomic.Pointer[generation]
	reloads *reloads
	alerts  *alerts.Alerts // nil when New failed early

	// stopping ends the start when Stop comes first.
	stopping context.Context
	cancel   context.CancelFunc

	mu      sync.Mutex
	queue   *queue.Queue
	workers *workers
	keeper  *keeper // nil without RoleProcess, and before Start
	memory  *memoryLimit
	stopped bool
}

// New builds everything from the configuration and binds every listener; nothing is served before Start. The caller
// must call Stop, also when Start was never called or returned an error.
func New(o Options) (*App, error) {
	if len(o.Roles) == 0 {
		o.Roles = []string{RoleIngest, RoleProcess}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Config.Queue.URL == "" && o.Queue == nil && !(slices.Contains(o.Roles, RoleIngest) && slices.Contains(o.Roles, RoleProcess)) {
		return nil, errors.New("one role alone needs a queue that the other can reach: set queue.url to a NATS cluster, or run both roles")
	}
	a := &App{opts: o, registry: prometheus.NewRegistry(), spool: &spool{}}
	a.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(o.Version),
	)
	a.stopping, a.cancel = context.WithCancel(context.Background())
	if err := a.build(); err != nil {
		a.cancel()
		err = errors.Join(err, a.unbind(context.Background()))
		_ = closeListeners(o.Listeners) // those that nobody had taken; a second close is an error of no interest
		return nil, err
	}
	return a, nil
}

func (a *App) build() error {
	if err := checkInherited(a.opts); err != nil {
		return err
	}
	if err := a.buildAlerts(); err != nil {
		return err
	}
	a.queueCfg = queueConfig(a.opts, a.registry)
	if a.opts.Queue != nil {
		a.opts.Queue(&a.queueCfg)
	}
	a.memory = newMemoryLimit(a.opts.Config, a.opts.Log)
	a.queueCfg.Large = a.memory.large
	first, err := newGeneration(a.opts.Config, nil, a.opts, a.registry)
	if err != nil {
		return err
	}
	a.reloads = newReloads(a.registry, a.opts.Now)
	if a.opts.links, err = newLinks(a.opts); err != nil {
		return err
	}
	if a.opts.Resolver == nil {
		if a.opts.Resolver, err = newResolver(a.opts.Config, a.opts.Log, a.registry); err != nil {
			return err
		}
	}
	if slices.Contains(a.opts.Roles, RoleProcess) {
		if err := first.buildSinks(a.opts, a.registry, nil); err != nil {
			return err
		}
	}
	a.current.Store(first)
	auth := newAuth(a.opts, a.registry)
	a.spool.auth, a.spool.lmtp = auth, lmtpListeners(a.opts.Config)
	for _, role := range a.opts.Roles {
		switch role {
		case RoleIngest:
			a.spool.waits = newWaits(a.opts.Config.SMTP.Limits.Waiting, a.registry)
			if a.certs, err = configuredCertificates(a.opts, a.registry); err == nil {
				a.server, err = newServer(a.opts, newFront(a.opts, &a.current), a.spool, a.certs, a.registry)
			}
		case RoleProcess:
			a.work, err = newWork(a.opts, auth, &a.current, a.registry)
		default:
			err = fmt.Errorf("no role %q: there are %s and %s", role, RoleIngest, RoleProcess)
		}
		if err != nil {
			return err
		}
	}
	a.ops, err = newOps(a.opts, a.registry, a.ready)
	return err
}

// Start serves. The front end answers at once, with 451 until the queue is open, which takes a while after a crash with
// much mail stored; Start returns when the queue is open and the workers run.
func (a *App) Start(ctx context.Context) error {
	a.ops.start()
	if a.certs != nil {
		if err := a.certs.start(); err != nil {
			return err
		}
	}
	if a.server != nil {
		a.server.Start()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(a.stopping, stop)()

	began := a.opts.Now()
	q, err := queue.Open(ctx, a.queueCfg)
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return errors.Join(errors.New("stopped while starting"), q.Close(context.WithoutCancel(ctx)))
	}
	a.queue = q
	if a.work != nil {
		a.workers = a.work.start(q)
		a.keeper = newKeeper(a, q)
	}
	a.serveAPI(a.current.Load())
	if err := a.serveLinks(q); err != nil {
		return err
	}
	a.spool.open(q)
	a.reloads.watch(a)
	a.opts.Log.Info("ready", "version", a.opts.Version, "roles", a.opts.Roles, "listeners", a.listenerAddrs(),
		"ops", a.OpsAddr().String(), "took", a.opts.Now().Sub(began).Round(time.Millisecond))
	return nil
}

// Stop drains and undoes Start and New in reverse: transactions under way are finished, attempts under way are finished or
// written down, the queue is closed cleanly. When ctx ends first, what is left is cut off; nothing is lost by that.
// It may be called twice.
func (a *App) Stop(ctx context.Context) error {
	a.mu.Lock()
	if a.stopped {
		a.mu.Unlock()
		return nil
	}
	a.stopped = true
	a.cancel()
	workers, keeper, q := a.workers, a.keeper, a.queue
	a.mu.Unlock()

	a.opts.Log.Info("stopping")
	a.reloads.stop()
	var errs []error
	if a.server != nil {
		// The front end may take most of the time there is, not all of it: the queue must be closed in order.
		errs = append(errs, withShare(ctx, 0.6, a.drain))
	}
	a.current.Load().directory.Close()
	if a.certs != nil {
		a.certs.stop()
	}
	if keeper != nil {
		keeper.close()
	}
	if workers != nil {
		errs = append(errs, withShare(ctx, 0.8, workers.stop))
	}
	if q != nil {
		errs = append(errs, q.Close(ctx))
	}
	if a.work != nil {
		a.work.close()
	}
	errs = append(errs, a.ops.stop(ctx))
	a.alerts.Close()
	return errors.Join(errs...)
}

// drain stops the front end. Senders that wait for an endpoint's answer do so for half of the time there is.
func (a *App) drain(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		defer time.AfterFunc(time.Until(deadline)/2, a.spool.waits.end).Stop()
	}
	return a.server.Shutdown(ctx)
}

// unbind gives back what New has bound before it failed.
func (a *App) unbind(ctx context.Context) error {
	var errs []error
	if a.server != nil {
		errs = append(errs, a.server.Shutdown(ctx))
	}
	if a.certs != nil {
		a.certs.stop()
	}
	if a.work != nil {
		a.work.close()
	}
	if a.ops != nil {
		errs = append(errs, a.ops.stop(ctx))
	}
	if a.alerts != nil {
		a.alerts.Close()
	}
	return errors.Join(errs...)
}

// withShare runs stop with a context that ends when that share of the remaining time is used up.
func withShare(ctx context.Context, share float64, stop func(context.Context) error) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(share*float64(time.Until(deadline))))
		defer cancel()
	}
	return stop(ctx)
}

// SMTPAddr returns where the listener of that name is bound; nil when there is none.
func (a *App) SMTPAddr(name string) net.Addr {
	if a.server == nil {
		return nil
	}
	return a.server.Addrs()[name]
}

// OpsAddr returns where the ops listener is bound.
func (a *App) OpsAddr() net.Addr { return a.ops.addr() }

func (a *App) listenerAddrs() []string {
	var addrs []string
	if a.server != nil {
		for name, addr := range a.server.Addrs() {
			addrs = append(addrs, name+" "+addr.String())
		}
	}
	return addrs
}

// ready says whether this instance does its work, and with which promise.
func (a *App) ready(ctx context.Context) (readiness, error) {
	a.mu.Lock()
	q, stopped := a.queue, a.stopped
	a.mu.Unlock()
	switch {
	case stopped:
		return readiness{}, errors.New("stopping")
	case q == nil:
		return readiness{}, errors.New("the queue is being opened")
	}
	st, err := q.Status(ctx)
	if err != nil {
		return readiness{}, fmt.Errorf("ask the queue: %w", err)
	}
	if reserve := int64(a.opts.Config.Queue.Reserve); st.StorageFree >= 0 && st.StorageFree < reserve {
		return readiness{}, fmt.Errorf("%w: %d bytes are free, and queue.reserve keeps %d", pipeline.ErrStorage, st.StorageFree, reserve)
	}
	return readiness{Durability: st.Durability}, nil
}
