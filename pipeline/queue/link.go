package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// link is a connection to a server that has all our streams. It is replaced as a whole when the embedded server has
// to be built anew.
type link struct {
	// srv is nil when the server is external.
	srv *server.Server
	// in carries the octets of new messages, so that they do not hold up what ctl carries.
	in, ctl  *nats.Conn
	inJS, js jetstream.JetStream
	// mails are the mail streams; another process may add some.
	mails    atomic.Pointer[mailStreams]
	delivery []jetstream.Stream
	dead     jetstream.Stream
	// log has the deliveries that succeeded.
	log   jetstream.Stream
	state jetstream.KeyValue
	// made is when the connection was begun, by the real clock.
	made time.Time
	// gone ends when the link is closed.
	gone  context.Context
	close context.CancelFunc
	era   atomic.Pointer[era]
}

// mailStreams are the mail streams that are known and the consumers of what is not settled in each.
type mailStreams struct {
	streams []jetstream.Stream
	parse   []jetstream.Consumer
}

func (l *link) mail() []jetstream.Stream    { return l.mails.Load().streams }
func (l *link) parse() []jetstream.Consumer { return l.mails.Load().parse }

// serverLimit is the limit in bytes of the embedded server: none. Beyond one a schedule that is due is lost until the
// next start; the quota is a matter of admission, so that deliveries and dead letters find room.
const serverLimit = 1 << 62

// stopWait bounds the stop of a server that did not come up.
const stopWait = 30 * time.Second

const (
	// pingEvery and pingsLost find a server that is gone without a word within some seconds.
	pingEvery = time.Second
	pingsLost = 2
	// writeFor bounds one write to an external server: one that hangs holds up all that the connection is used for.
	writeFor = 3 * time.Second
	// startPatience bounds the time in which a cluster that does not answer is tried again at the start.
	startPatience = 2 * time.Minute
	// errUnavailable is the code of a cluster that has no leader just now.
	errUnavailable = 10008
)

// errDown says that there is no working queue just now.
var errDown = errors.New("queue is down")

// errClosed says that the queue was closed.
var errClosed = errors.New("queue is closed")

// current returns the link in use, or why there is none.
func (q *Queue) current() (*link, error) {
	if q.isClosed() {
		return nil, errClosed
	}
	if l := q.link.Load(); l != nil && l.in.IsConnected() && l.ctl.IsConnected() {
		return l, nil
	}
	return nil, errDown
}

// connect starts the embedded server, or dials the external one, and declares the streams.
func (q *Queue) connect(ctx context.Context) (*link, error) {
	l := &link{made: time.Now()}
	l.mails.Store(&mailStreams{})
	l.gone, l.close = context.WithCancel(context.Background())
	l.newEra()
	err := q.dial(ctx, l)
	if err == nil {
		err = q.declare(ctx, l)
	}
	if err == nil {
		err = q.checkClock(ctx, l)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
		defer cancel()
		return nil, errors.Join(err, l.shut(ctx))
	}
	return l, nil
}

// connectPatiently is connect, again and again for a while when an external cluster does not answer in time: it may be
// choosing its leaders.
func (q *Queue) connectPatiently(ctx context.Context) (*link, error) {
	for start := time.Now(); ; {
		l, err := q.connect(ctx)
		if err == nil || q.cfg.URL == "" || !unanswered(err) || time.Since(start) > startPatience || ctx.Err() != nil {
			return l, err
		}
		q.cfg.Log.Warn("the queue's cluster does not answer; it is tried again", "error", err)
		if sleep(ctx, rebuildPause) != nil {
			return nil, err
		}
	}
}

// unanswered reports whether an error of a request says no more than that nobody answers just now.
func unanswered(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.As(err, &api) && api.ErrorCode == errUnavailable
}

func (q *Queue) dial(ctx context.Context, l *link) error {
	var url string
	opts := []nats.Option{
		nats.Name("mxhook"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent now is an error now: nobody waits for its answer later
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			q.cfg.Log.Warn("queue connection", "error", err)
		}),
	}
	if q.cfg.URL == "" {
		srv, err := q.startServer(ctx)
		l.srv = srv
		if err != nil {
			return err
		}
		opts = append(opts, nats.InProcessServer(srv))
	} else {
		url = q.cfg.URL
		opts = append(opts, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsLost), nats.FlusherTimeout(writeFor),
			nats.ReconnectOnFlusherError(), nats.DisconnectErrHandler(q.lost), nats.ReconnectHandler(q.found))
		more, err := q.externalOptions()
		if err != nil {
			return err
		}
		opts = append(opts, more...)
	}
	var err error
	if l.in, err = nats.Connect(url, opts...); err != nil {
		return fmt.Errorf("connect to the queue: %w", err)
	}
	if l.ctl, err = nats.Connect(url, opts...); err != nil {
		return fmt.Errorf("connect to the queue: %w", err)
	}
	if l.inJS, err = q.jetStream(l.in); err != nil {
		return err
	}
	if l.js, err = q.jetStream(l.ctl); err != nil {
		return err
	}
	if q.cfg.URL != "" {
		return q.checkExternal(ctx, l)
	}
	return nil
}

func (q *Queue) jetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	if q.cfg.Domain != "" {
		return jetstream.NewWithDomain(nc, q.cfg.Domain, jetstream.WithDefaultTimeout(q.cfg.tryFor))
	}
	return jetstream.New(nc, jetstream.WithDefaultTimeout(q.cfg.tryFor))
}

// startServer starts the embedded server and returns it even with an error, to be shut. Recovery of a large store
// after a crash takes seconds to minutes; ctx bounds it.
func (q *Queue) startServer(ctx context.Context) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName:             "mxhook",
		JetStream:              true,
		StoreDir:               filepath.Join(q.cfg.Dir, "nats"),
		SyncAlways:             q.cfg.Durability == DurabilityFsync,
		JetStreamMaxStore:      serverLimit,
		JetStreamMaxMemory:     64 * mib,
		MaxPayload:             mib,
		MaxPending:             256 * mib,
		DontListen:             true,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		JetStreamKey:           q.cfg.EncryptionKey,
		JetStreamCipher:        server.AES,
	})
	if err != nil {
		return nil, fmt.Errorf("configure embedded server: %w", err)
	}
	log := &serverLog{log: q.cfg.Log, broken: q.reportBroken}
	srv.SetLoggerV2(log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		srv.Shutdown()
		<-started
		return srv, fmt.Errorf("start embedded server: %w", ctx.Err())
	}
	for !srv.ReadyForConnections(100 * time.Millisecond) {
		if reason := log.fatally.Load(); reason != nil {
			return srv, fmt.Errorf("start embedded server: %s", *reason)
		}
		if err := ctx.Err(); err != nil {
			return srv, fmt.Errorf("start embedded server: %w", err)
		}
	}
	if !srv.JetStreamEnabled() {
		return srv, errors.New("start embedded server: it runs without JetStream; see the log above")
	}
	return srv, nil
}

// lost and found tell of the connections to an external server.
func (q *Queue) lost(nc *nats.Conn, err error) {
	if !nc.IsClosed() {
		q.cfg.Log.Warn("the connection to the queue's server is lost; the next one of the cluster is tried", "error", err)
	}
}

func (q *Queue) found(nc *nats.Conn) {
	q.cfg.Log.Info("connected to a server of the queue again", "server", nc.ConnectedServerName())
}

func (q *Queue) externalOptions() ([]nats.Option, error) {
	var opts []nats.Option
	if q.cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(q.cfg.Credentials))
	}
	if q.cfg.NKey != "" {
		opt, err := nats.NkeyOptionFromSeed(q.cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("read nkey seed: %w", err)
		}
		opts = append(opts, opt)
	}
	if q.cfg.TLS != nil {
		opts = append(opts, nats.Secure(q.cfg.TLS))
	}
	return opts, nil
}

// checkExternal refuses a server that cannot do what we need, and says what to do.
func (q *Queue) checkExternal(ctx context.Context, l *link) error {
	version := l.ctl.ConnectedServerVersion()
	if !atLeast(version, 2, 12) {
		return fmt.Errorf("the NATS server is version %s: message schedules need 2.12, 2.15 is recommended; upgrade it", version)
	}
	account, err := l.js.AccountInfo(ctx)
	if err != nil {
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) ||
			errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("the NATS server has no JetStream for this account: "+
				"add a jetstream {store_dir: ...} block to its configuration, and enable it for the account: %w", err)
		}
		return fmt.Errorf("look at the NATS account: %w", err)
	}
	if p := l.ctl.MaxPayload(); p < mib {
		return fmt.Errorf("the NATS server takes messages of up to %d bytes: set its max_payload to at least 1MB", p)
	}
	if most := account.Limits.MaxStore; most > 0 && most <= q.cfg.Reserve {
		return fmt.Errorf("the NATS account may store %d bytes, which queue.reserve (%d) alone takes: raise its JetStream storage limit, or lower the reserve",
			most, q.cfg.Reserve)
	}
	return nil
}

// checkClock compares the server's clock with ours: retries are timed by that one, and everything else by ours.
func (q *Queue) checkClock(ctx context.Context, l *link) error {
	if q.cfg.URL == "" {
		return nil
	}
	sent := time.Now()
	info, err := l.log.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the server's clock: %w", err)
	}
	apart := info.TimeStamp.Sub(sent)
	if apart > 0 {
		apart = max(0, apart-time.Since(sent))
	}
	switch {
	case apart.Abs() > clockSkew:
		return fmt.Errorf("the clock of the NATS server and ours are %v apart: have both set by NTP", apart.Round(time.Second))
	case apart.Abs() > clockSkew/20:
		q.cfg.Log.Warn("the clock of the NATS server and ours differ: have both set by NTP", "apart", apart.Round(time.Second))
	}
	return nil
}

// atLeast reports whether version ("2.15.2", "2.12.0-RC.1") is major.minor or later.
func atLeast(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// shut closes the link. The server writes its indexes on the way, which makes the next start fast; ctx bounds that.
func (l *link) shut(ctx context.Context) error {
	l.close()
	for _, nc := range []*nats.Conn{l.in, l.ctl} {
		if nc != nil {
			nc.Close()
		}
	}
	if l.srv == nil {
		return nil
	}
	down := make(chan struct{})
	go func() {
		defer close(down)
		l.srv.Shutdown()
		l.srv.WaitForShutdown()
	}()
	select {
	case <-down:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop embedded server: %w", ctx.Err())
	}
}
