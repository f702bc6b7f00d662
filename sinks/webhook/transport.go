package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"mxhook/pipeline"
)

// newTransport returns the connections of one sink: as many as it has attempts under way, kept between attempts, with
// no decompression (200 KB can become 200 MB), no cookies, and no proxy but the configured one: then all connections go
// to the proxy, which may be inside, and the target is checked before (see proxyGuard).
// Redirects are not its business: the sink calls RoundTrip and takes a 3xx as an answer.
func newTransport(o Options, secured *tls.Config, proxy *url.URL) *http.Transport {
	t := &http.Transport{
		DialContext:            newDialer(o, proxy).DialContext,
		TLSClientConfig:        secured,
		TLSHandshakeTimeout:    o.ConnectTimeout,
		ResponseHeaderTimeout:  o.ResponseTimeout,
		MaxIdleConns:           o.Concurrency,
		MaxIdleConnsPerHost:    o.Concurrency,
		MaxConnsPerHost:        o.Concurrency,
		IdleConnTimeout:        o.IdleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        32 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		// A connection that HTTP/2 shares must not take its streams along unnoticed when it dies.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
	if proxy != nil {
		t.Proxy = http.ProxyURL(proxy)
	}
	return t
}

// newDialer returns what connects. It asks the guard for each address that a name has, when it is dialled.
func newDialer(o Options, proxy *url.URL) *net.Dialer {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: 15 * time.Second}
	if !o.AllowPrivate && proxy == nil {
		dialer.Control = newGuard(o.AllowNetworks).control
	}
	return dialer
}

// What an attempt is doing, for the words of a timeout.
const (
	preparing = int32(iota)
	waitingForConnection
	resolving
	connecting
	handshaking
	sending
	waitingForAnswer
	readingAnswer
)

// progress follows one attempt. Its hooks run in goroutines of the transport, also after the attempt is over.
type progress struct {
	step    atomic.Int32
	onFresh func()

	mu      sync.Mutex
	began   [timedSteps]time.Time
	timings pipeline.Timings
}

// The steps of an attempt that are timed.
const (
	timedDNS = iota
	timedConnect
	timedTLS
	timedFirstByte
	timedSteps
)

// begin notes when a timed step began; of connections that are tried side by side, the first counts.
func (p *progress) begin(step int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began[step].IsZero() {
		p.began[step] = time.Now()
	}
}

// end notes that a timed step is over; the last time counts.
func (p *progress) end(step int, into *time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began[step].IsZero() {
		*into = max(time.Since(p.began[step]), 1)
	}
}

// times returns what was measured so far.
func (p *progress) times() pipeline.Timings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timings
}

// watch returns a context that reports an attempt's progress; fresh is called when it got a new connection.
func watch(ctx context.Context, fresh func()) (context.Context, *progress) {
	p := &progress{onFresh: fresh}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { p.step.Store(waitingForConnection) },
		DNSStart: func(httptrace.DNSStartInfo) {
			p.step.Store(resolving)
			p.begin(timedDNS)
		},
		DNSDone: func(httptrace.DNSDoneInfo) { p.end(timedDNS, &p.timings.DNS) },
		ConnectStart: func(string, string) {
			p.step.Store(connecting)
			p.begin(timedConnect)
		},
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				p.end(timedConnect, &p.timings.Connect)
			}
		},
		TLSHandshakeStart: func() {
			p.step.Store(handshaking)
			p.begin(timedTLS)
		},
		TLSHandshakeDone: func(tls.ConnectionState, error) { p.end(timedTLS, &p.timings.TLS) },
		GotConn: func(info httptrace.GotConnInfo) {
			p.step.Store(sending)
			p.begin(timedFirstByte)
			if !info.Reused {
				p.onFresh()
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.step.CompareAndSwap(sending, waitingForAnswer)
			}
		},
		GotFirstResponseByte: func() {
			p.step.Store(readingAnswer)
			p.end(timedFirstByte, &p.timings.FirstByte)
		},
	}), p
}

func (p *progress) String() string {
	switch p.step.Load() {
	case waitingForConnection:
		return "waiting for a free connection"
	case resolving:
		return "resolving the host name"
	case connecting:
		return "connecting"
	case handshaking:
		return "negotiating TLS"
	case sending:
		return "sending the request"
	case waitingForAnswer:
		return "waiting for the answer"
	case readingAnswer:
		return "reading the answer"
	}
	return "preparing the request"
}

// timedOut reports whether err is a deadline of any layer.
func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &n) && n.Timeout())
}
