package ingest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"mxhook/pipeline"
)

// dialogSettings are what the lines with @ set.
type dialogSettings struct {
	listener Listener
	limits   Limits
	timeouts Timeouts
	policy   Policy
	dns      fakeDNS
	spool    *memorySpool
	accept   func() error
	live     Domain // live.example, when something is set on it
	callout  int    // status of its callouts
	from     string // greeting, ehlo, mail, rcpt or data: what is said before the script begins
	others   int    // connections that are open already
	logPanic bool
}

// set changes one setting. Numbers and durations have the names of the fields they set.
func (d *dialogSettings) set(name, value string) error {
	failures := map[string]func(context.Context) error{
		"down":  failWith(errors.New("nats: no responders at 10.0.0.7")),
		"short": failWith(fmt.Errorf("reserve of /var/lib/mxhook: %w", pipeline.ErrStorage)),
		"panic": func(context.Context) error { panic("boom") },
	}
	numbers := map[string]*int{
		"recipients": &d.limits.Recipients, "errors": &d.limits.Errors, "idle_commands": &d.limits.IdleCommands,
		"command_line": &d.limits.CommandLine, "connections": &d.limits.Connections,
		"connections_per_ip": &d.limits.ConnectionsPerIP, "connections_per_network": &d.limits.ConnectionsPerNetwork,
		"unknown_recipients": &d.limits.UnknownRecipients, "transactions": &d.limits.Transactions,
		"rate_connections": &d.policy.Rates.Connections, "rate_messages": &d.policy.Rates.Messages,
		"quota": &d.live.Quota, "callout": &d.callout, "rate_recipients": &d.policy.Rates.Recipients, "refuse_at": &d.policy.RefuseAt, "others": &d.others,
	}
	durations := map[string]*time.Duration{
		"greet_delay": &d.timeouts.GreetDelay, "command": &d.timeouts.Command, "data": &d.timeouts.Data,
		"session": &d.timeouts.Session, "rate_grace": &d.timeouts.RateGrace, "tarpit": &d.policy.Tarpit,
		"unknown_pause": &d.policy.UnknownPause, "greylist": &d.policy.Greylist.Delay, "proxy_timeout": &d.timeouts.Proxy,
		"dns_timeout": &d.policy.DNSTimeout,
	}
	texts := map[string]*string{
		"from": &d.from, "protocol": &d.listener.Protocol, "tls": &d.listener.TLS,
		"bare_lf": &d.policy.BareLF, "bare_cr": &d.policy.BareCR,
	}
	networks := map[string]*[]netip.Prefix{
		"proxy": &d.listener.Proxy, "xclient": &d.listener.Xclient, "allow": &d.policy.Allow, "deny": &d.policy.Deny,
	}
	octets := map[string]*int64{"message_size": &d.limits.MessageSize, "drain": &d.limits.Drain, "min_rate": &d.limits.MinRate}
	calls := map[string]*func(context.Context) error{
		"admit": &d.spool.admit, "begin": &d.spool.begin, "write": &d.spool.write, "commit": &d.spool.commit,
	}
	var err error
	switch {
	case numbers[name] != nil:
		*numbers[name], err = strconv.Atoi(value)
	case octets[name] != nil:
		*octets[name], err = strconv.ParseInt(value, 10, 64)
	case durations[name] != nil:
		*durations[name], err = time.ParseDuration(value)
	case texts[name] != nil:
		*texts[name] = value
	case calls[name] != nil:
		*calls[name] = failures[value]
	case networks[name] != nil:
		var network netip.Prefix
		network, err = netip.ParsePrefix(value)
		*networks[name] = append(*networks[name], network)
	case name == "accept":
		d.accept, err = accepting(value, failures[value])
	case name == "dns":
		d.dns.add(value)
	case name == "list":
		zone, score, _ := strings.Cut(value, " ")
		n, _ := strconv.Atoi(score)
		d.policy.DNSLists = append(d.policy.DNSLists, DNSList{Zone: zone, Score: n})
	case name == "reverse_dns":
		d.policy.ReverseDNS = true
	case name == "blocked":
		d.live.Blocked = []string{value}
	case name == "guard":
		n, answer, _ := strings.Cut(value, " ")
		d.live.Guard = &Guard{Permanent: answer == "permanent"}
		d.live.Guard.New, err = strconv.Atoi(n)
	case name == "log":
		d.logPanic = true
	default:
		return errors.New("unknown setting")
	}
	return err
}

// accepting makes the error of Recipients: a failure, or a reply inside another error.
func accepting(value string, failure func(context.Context) error) (func() error, error) {
	if failure != nil {
		return func() error { return failure(context.Background()) }, nil
	}
	text, err := strconv.Unquote(value)
	code, rest, _ := strings.Cut(text, " ")
	status, rest, _ := strings.Cut(rest, " ")
	number, _ := strconv.Atoi(code)
	return func() error {
		return fmt.Errorf("secret policy: %w", &Reply{Code: number, Status: status, Text: rest})
	}, err
}

func (d *dialogSettings) apply(t *testing.T, o *Options, listener net.Listener, serverTLS *tls.Config) {
	d.listener.Name, d.listener.Open = "mx", listener
	o.Listeners = []Listener{d.listener}
	if cmp.Or(d.listener.TLS, TLSNone) != TLSNone {
		o.TLSConfig = serverTLS
	}
	o.Limits, o.Timeouts, o.Policy, o.Spool = d.limits, d.timeouts, d.policy, d.spool
	o.Policy.Resolver = &d.dns
	if o.Policy.Greylist.Delay > 0 {
		o.Policy.Greylist.Memory = newLocalMemory(nil)
	}
	if d.callout > 0 {
		d.live.Callout = &Callout{URL: "http://callout.example/", AcceptOnFailure: d.callout == 999}
	}
	d.live.Name = "live.example"
	directory, err := NewDirectory(DirectoryOptions{
		Domains: append(testDomains(), d.live), Log: o.Log, HTTP: &http.Client{Transport: statusTransport(d.callout)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(directory.Close)
	o.Recipients = directory
	if d.accept != nil {
		o.Recipients = recipientsFunc{o.Recipients, d.accept}
	}
	if d.logPanic {
		o.Log = slog.New(panickingHandler{o.Log.Handler()})
	}
}

// statusTransport answers every request with one status.
type statusTransport int

func (s statusTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: int(s), Status: fmt.Sprint(int(s)), Body: http.NoBody}, nil
}

// recipientsFunc fails when its function does.
type recipientsFunc struct {
	Recipients
	fail func() error
}

func (r recipientsFunc) Accepts(ctx context.Context, rcpt Address) (pipeline.Recipient, error) {
	if err := r.fail(); err != nil {
		return pipeline.Recipient{}, err
	}
	return r.Recipients.Accepts(ctx, rcpt)
}

// panickingHandler panics once a session begins, where nobody waits for a reply.
type panickingHandler struct{ slog.Handler }

func (h panickingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return panickingHandler{h.Handler.WithAttrs(attrs)}
}

func (h panickingHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "session begins" {
		panic("boom")
	}
	return h.Handler.Handle(ctx, r)
}

// fakeDNS answers from a table: "NAME ADDRESS", "ADDRESS NAME" for a reverse name, "NAME fail", "NAME hang". What is not
// there does not exist.
type fakeDNS struct{ records [][2]string }

func (f *fakeDNS) add(record string) {
	name, answer, _ := strings.Cut(record, " ")
	f.records = append(f.records, [2]string{name, answer})
}

func (f *fakeDNS) find(ctx context.Context, name string) ([]string, error) {
	var found []string
	for _, r := range f.records {
		switch {
		case r[0] != name:
		case r[1] == "fail":
			return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
		case r[1] == "hang":
			<-ctx.Done()
			return nil, ctx.Err()
		default:
			found = append(found, r[1])
		}
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found, nil
}

func (f *fakeDNS) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return f.find(ctx, addr)
}

func (f *fakeDNS) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	found, err := f.find(ctx, host)
	var ips []netip.Addr
	for _, text := range found {
		ips = append(ips, netip.MustParseAddr(text))
	}
	return ips, err
}

// envelopeText writes what the extensions put into an envelope.
func envelopeText(e pipeline.Envelope) string {
	text := fmt.Sprintf("from=%s client=%s helo=%s body=%s", e.ReversePath, netip.AddrPortFrom(e.Client.IP, e.Client.Port), e.Client.Helo, e.BodyType)
	if e.SMTPUTF8 {
		text += " utf8"
	}
	if e.RequireTLS {
		text += " requiretls"
	}
	if e.Ret != "" || e.EnvID != "" {
		text += " ret=" + e.Ret + " envid=" + e.EnvID
	}
	for _, r := range e.Recipients {
		text += "; " + r.Address
		if r.Notify != "" {
			text += " notify=" + r.Notify
		}
		if r.OriginalRecipient != "" {
			text += " orcpt=" + r.OriginalRecipient
		}
	}
	return text
}
