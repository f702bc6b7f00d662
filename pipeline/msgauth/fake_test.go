package msgauth

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"mxhook/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeZone is a Resolver over records in memory. Names are in lower case without a final dot.
type fakeZone struct {
	records map[string][]fakeRecord
	// failing names give this error for types that they have no record of.
	failing map[string]error
	queries atomic.Int64
}

type fakeRecord struct{ typ, value string }

func newZone() *fakeZone {
	return &fakeZone{records: map[string][]fakeRecord{}, failing: map[string]error{}}
}

// zoneOf reads lines "name TYPE value"; the type TIMEOUT or SERVFAIL makes the name fail.
func zoneOf(lines ...string) *fakeZone {
	z := newZone()
	for _, line := range lines {
		p := strings.SplitN(line, " ", 3)
		switch p[1] {
		case "TIMEOUT":
			z.failing[p[0]] = errFakeTimeout
		case "SERVFAIL":
			z.failing[p[0]] = errFakeServfail
		default:
			z.add(p[0], p[1], p[2])
		}
	}
	return z
}

var (
	errFakeTimeout  = &net.DNSError{Err: "timed out", IsTimeout: true, IsTemporary: true}
	errFakeServfail = &net.DNSError{Err: "server answered SERVFAIL", IsTemporary: true}
)

func (z *fakeZone) add(name, typ, value string) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	z.records[name] = append(z.records[name], fakeRecord{typ, value})
}

func (z *fakeZone) lookup(ctx context.Context, name, typ string) ([]string, error) {
	z.queries.Add(1)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	asked := name
	for range 10 {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		var values []string
		alias := ""
		for _, r := range z.records[name] {
			if r.typ == typ {
				values = append(values, r.value)
			} else if r.typ == "CNAME" {
				alias = r.value
			}
		}
		switch err := z.failing[name]; {
		case len(values) > 0:
			return values, nil
		case err != nil:
			return nil, err
		case alias == "":
			missing := noSuchRecord
			if asked == name && len(z.records[name]) == 0 {
				missing = noSuchName
			}
			return nil, &net.DNSError{Err: missing, Name: asked, IsNotFound: true}
		}
		name = alias
	}
	return nil, &net.DNSError{Err: "alias loop", Name: asked, IsTemporary: true}
}

func (z *fakeZone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, name, "TXT")
}

func (z *fakeZone) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	var notFound error
	for _, typ := range []string{"A", "AAAA"} {
		if network == "ip4" && typ == "AAAA" || network == "ip6" && typ == "A" {
			continue
		}
		values, err := z.lookup(ctx, host, typ)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		if err != nil {
			notFound = err
		}
		for _, v := range values {
			addrs = append(addrs, netip.MustParseAddr(v))
		}
	}
	if len(addrs) == 0 {
		return nil, notFound
	}
	return addrs, nil
}

func (z *fakeZone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	values, err := z.lookup(ctx, name, "MX")
	mxs := make([]*net.MX, len(values))
	for i, v := range values {
		mxs[i] = &net.MX{Host: v, Pref: uint16(i)}
	}
	return mxs, err
}

func (z *fakeZone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	arpa, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, err
	}
	return z.lookup(ctx, arpa, "PTR")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newStage(r Resolver) *Stage { return New(Options{Resolver: r, Log: quiet()}) }

// message makes a message as the queue would hand it out.
func message(ip, helo, reversePath, raw string) *pipeline.Message {
	addr, _ := netip.ParseAddr(ip)
	return &pipeline.Message{
		Envelope: pipeline.Envelope{
			ID: "01TEST", ReversePath: reversePath, Hostname: "mx.example.com",
			Client: pipeline.Client{IP: addr, Helo: helo},
		},
		Raw: []byte(raw),
	}
}

func authenticate(t *testing.T, s *Stage, m *pipeline.Message) *pipeline.AuthResults {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Run(ctx, m); err != nil {
		t.Fatal(err)
	}
	return m.Auth
}
