package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// newTransport returns the connections of one sink: as many as it has attempts under way, kept between attempts, with
// no proxy (the guard would see the proxy's address), no decompression (200 KB can become 200 MB) and no cookies.
// Redirects are not its business: the sink calls RoundTrip and takes a 3xx as an answer.
func newTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: 15 * time.Second}
	if !o.AllowPrivate {
		dialer.Control = newGuard(o.AllowNetworks).control
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        o.TLS.Clone(),
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
	}
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
}

// watch returns a context that reports an attempt's progress; fresh is called when it got a new connection.
func watch(ctx context.Context, fresh func()) (context.Context, *progress) {
	p := &progress{onFresh: fresh}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:           func(string) { p.step.Store(waitingForConnection) },
		DNSStart:          func(httptrace.DNSStartInfo) { p.step.Store(resolving) },
		ConnectStart:      func(string, string) { p.step.Store(connecting) },
		TLSHandshakeStart: func() { p.step.Store(handshaking) },
		GotConn: func(info httptrace.GotConnInfo) {
			p.step.Store(sending)
			if !info.Reused {
				p.onFresh()
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.step.CompareAndSwap(sending, waitingForAnswer)
			}
		},
		GotFirstResponseByte: func() { p.step.Store(readingAnswer) },
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
