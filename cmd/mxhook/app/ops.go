package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mxhook/console"
	"mxhook/pipeline"
	"mxhook/pipeline/queue"
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready bool `json:"ready"`
	// Durability is the mode in force: what a 250 stands for.
	Durability string `json:"durability,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// ops is the operator's HTTP listener: health, metrics, and the API once the queue is open.
type ops struct {
	listener net.Listener
	server   *http.Server
	api      atomic.Pointer[console.API]
	content  atomic.Pointer[console.Content]
	ready    func(context.Context) (readiness, error)
	done     chan struct{} // closed when the server has ended; nil before start
}

// readyTimeout bounds what /readyz waits for the queue.
const readyTimeout = 5 * time.Second

func newOps(o Options, registry *prometheus.Registry, ready func(context.Context) (readiness, error)) (*ops, error) {
	l := o.Listeners[opsListener]
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", o.Config.Ops.Address); err != nil {
			return nil, fmt.Errorf("listen on ops.address: %w", err)
		}
	}
	p := &ops{listener: l, ready: ready}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", p.serveReady)
	if sts := o.Config.SMTP.MTASTS; sts.Mode != "" {
		policy := sts.Policy(o.Config.SMTP.Hostname)
		mux.HandleFunc("GET /.well-known/mta-sts.txt", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, policy) // the client went away: nothing to tell it
		})
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("/api/", p.serveAPI)
	if o.links != nil {
		mux.HandleFunc("GET "+o.Config.Links.Path+"{id}/{part}", p.serveContent)
	}
	p.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

func (p *ops) addr() net.Addr { return p.listener.Addr() }

func (p *ops) start() {
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		_ = p.server.Serve(p.listener) // ends with ErrServerClosed when stop is called
	}()
}

func (p *ops) stop(ctx context.Context) error {
	if p.done == nil {
		return p.listener.Close()
	}
	err := p.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop the ops listener: %w", err), p.server.Close())
	}
	<-p.done
	return err
}

func (p *ops) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	status, st := http.StatusOK, readiness{}
	st, err := p.ready(ctx)
	st.Ready = err == nil
	if err != nil {
		status, st.Reason = http.StatusServiceUnavailable, err.Error()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(st) // the client went away: nothing to tell it
}

func (p *ops) serveAPI(w http.ResponseWriter, r *http.Request) {
	api := p.api.Load()
	if api == nil {
		http.Error(w, `{"error":"the queue is being opened: try again soon"}`, http.StatusServiceUnavailable)
		return
	}
	api.ServeHTTP(w, r)
}

func (p *ops) serveContent(w http.ResponseWriter, r *http.Request) {
	content := p.content.Load()
	if content == nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "the queue is being opened: try again soon", http.StatusServiceUnavailable)
		return
	}
	content.ServeHTTP(w, r)
}

// store is the console's view of the queue.
type store struct{ *queue.Queue }

// DeadLetters implements console.Store.
func (s store) DeadLetters(ctx context.Context, f console.DeadFilter) ([]*pipeline.DeadLetter, error) {
	filter := queue.DeadFilter{Sink: f.Sink, MessageID: f.Message, Since: f.Since, Until: f.Until, Limit: f.Limit}
	if f.Sink == pipeline.UnroutedID {
		filter.Sink, filter.NoSink = "", true
	}
	return s.Queue.DeadLetters(ctx, filter)
}

func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mxhook_build_info", Help: "Always 1; the version that runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	g.Set(1)
	return g
}
