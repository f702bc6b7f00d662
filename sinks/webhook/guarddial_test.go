package webhook

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/foxcpp/go-mockdns"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

var errRecorded = errors.New("recorded, not connected")

// recorder makes a sink's own dialer note which addresses it would connect to, and connect to none.
type recorder struct {
	mu      sync.Mutex
	allowed []string
	refused []string
}

// newRecorded returns a sink with such a dialer, whose names come from the server.
func newRecorded(t *testing.T, o Options, dns *mockdns.Server) (*Webhook, *recorder) {
	t.Helper()
	o.Sink, o.Secrets = "test", []string{testSecret}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	r := &recorder{}
	dialer := newDialer(o.withDefaults(), nil)
	control := dialer.Control
	dialer.Control = func(network, address string, c syscall.RawConn) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if control != nil {
			if err := control(network, address, c); err != nil {
				r.refused = append(r.refused, address)
				return err
			}
		}
		r.allowed = append(r.allowed, address)
		return errRecorded
	}
	dialer.Resolver = &net.Resolver{}
	dns.PatchNet(dialer.Resolver)
	w.transport.DialContext = dialer.DialContext
	return w, r
}

func newDNS(t *testing.T, zones map[string]mockdns.Zone) *mockdns.Server {
	t.Helper()
	s, err := mockdns.NewServerWithLogger(zones, log.New(io.Discard, "", 0), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// internalForms are ways to write an internal address in a URL: a literal, or a name and what it resolves to. System
// resolvers make addresses of the numeric spellings; here the DNS does.
func internalForms() map[string]string {
	forms := map[string]string{}
	for _, name := range []string{
		"2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.1", "0x7f.1", "127.0.0.1.", "0", // loopback
		"localtest.example", "loop.example",
	} {
		forms[name] = "127.0.0.1"
	}
	for _, name := range []string{"2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfe.0xa9.0xfe", "169.16689662", "metadata.example", "metadata.google.internal"} {
		forms[name] = "169.254.169.254"
	}
	forms["167772161"], forms["0xa000001"], forms["012.0.0.1"], forms["10.1"], forms["intranet.example"] = "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.20.30.40"
	forms["0xc0a80001"], forms["3232235521"], forms["0300.0250.0.1"], forms["192.168.1"] = "192.168.0.1", "192.168.0.1", "192.168.0.1", "192.168.0.1"
	forms["0xac100001"], forms["private-b.example"] = "172.16.0.1", "172.31.255.254"
	for name, ip := range map[string]string{
		"cgnat.example": "100.64.0.1", "cgnat-end.example": "100.127.255.254", "alibaba-metadata.example": "100.100.100.200", "this.example": "0.0.0.0",
		"this-net.example": "0.1.2.3", "broadcast.example": "255.255.255.255", "multicast.example": "224.0.0.251", "reserved.example": "240.0.0.1",
		"test-net.example": "192.0.2.1", "test-net-2.example": "198.51.100.7", "test-net-3.example": "203.0.113.9", "benchmark.example": "198.18.0.1",
		"ietf.example": "192.0.0.8", "relay6to4.example": "192.88.99.1",
		"six-loop.example": "::1", "six-any.example": "::", "six-local.example": "fe80::1", "six-site.example": "fec0::1", "six-unique.example": "fd00::1",
		"six-aws.example": "fd00:ec2::254", "six-multicast.example": "ff02::1", "six-docs.example": "2001:db8::1", "six-discard.example": "100::1",
		"mapped.example": "::ffff:127.0.0.1", "mapped-metadata.example": "::ffff:169.254.169.254", "mapped-private.example": "::ffff:10.0.0.1",
		"compatible.example": "::127.0.0.1", "nat64.example": "64:ff9b::7f00:1", "nat64-metadata.example": "64:ff9b::a9fe:a9fe",
		"nat64-private.example": "64:ff9b::a00:1", "nat64-local.example": "64:ff9b:1::a00:1", "sixtofour.example": "2002:7f00:1::1",
		"sixtofour-private.example": "2002:a00:1::1", "teredo.example": "2001:0:7f00:1::1", "orchid.example": "2001:10::1", "srv6.example": "5f00::1",
	} {
		forms[name] = ip
	}
	return forms
}

func zonesOf(forms map[string]string) map[string]mockdns.Zone {
	zones := map[string]mockdns.Zone{}
	for name, ip := range forms {
		zones[strings.TrimSuffix(name, ".")+"."] = zoneOf(ip)
	}
	return zones
}

func zoneOf(ip string) mockdns.Zone {
	if strings.Contains(ip, ":") {
		return mockdns.Zone{AAAA: []string{ip}}
	}
	return mockdns.Zone{A: []string{ip}}
}

func TestNoFormOfAnInternalAddressIsDialled(t *testing.T) {
	t.Parallel()
	forms := internalForms()
	if len(forms) < 60 {
		t.Fatalf("%d forms, want 60 or more", len(forms))
	}
	dns := newDNS(t, zonesOf(forms))
	for name, ip := range forms {
		w, r := newRecorded(t, Options{URL: "http://" + name + ":8080/in"}, dns)
		_, err := w.Deliver(t.Context(), sinktest.Sized(1, 0))
		if err == nil || len(r.allowed) > 0 || pipeline.IsPermanent(err) {
			t.Errorf("%s (%s): dialled %v, error %v", name, ip, r.allowed, err)
		}
		var unknown *net.DNSError // what no resolver makes an address of is not dialled either
		if !errors.Is(err, ErrInternalAddress) && !errors.As(err, &unknown) {
			t.Errorf("%s (%s): refused %v, error %v", name, ip, r.refused, err)
		}
	}
	literals := 0
	for _, ip := range forms {
		addr := netip.MustParseAddr(ip)
		host := addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
		literals++
		if _, err := New(Options{URL: "https://" + host + "/", Secrets: []string{testSecret}}); !errors.Is(err, ErrInternalAddress) {
			t.Errorf("%s as a literal: %v", host, err)
		}
	}
	t.Logf("%d forms, %d literals", len(forms), literals)
}

func TestEveryAddressOfANameIsJudged(t *testing.T) {
	t.Parallel()
	dns := newDNS(t, map[string]mockdns.Zone{"mixed.example.": {A: []string{"10.0.0.1", "93.184.216.34"}, AAAA: []string{"::1"}}})
	w, r := newRecorded(t, Options{URL: "http://mixed.example/"}, dns)
	if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); err == nil {
		t.Error("delivered")
	}
	if len(r.allowed) != 1 || r.allowed[0] != "93.184.216.34:80" {
		t.Errorf("dialled %v, refused %v", r.allowed, r.refused)
	}
}

// TestANameThatChangesItsAddressGainsNothing: nothing that was found earlier is trusted when the connection is made.
func TestANameThatChangesItsAddressGainsNothing(t *testing.T) {
	t.Parallel()
	before := newDNS(t, map[string]mockdns.Zone{"rebind.example.": {A: []string{"93.184.216.34"}}})
	after := newDNS(t, map[string]mockdns.Zone{"rebind.example.": {A: []string{"169.254.169.254"}}})
	w, r := newRecorded(t, Options{URL: "http://rebind.example/"}, before)
	if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); !errors.Is(err, errRecorded) || len(r.allowed) != 1 {
		t.Fatalf("dialled %v, %v", r.allowed, err)
	}
	again, changed := newRecorded(t, Options{URL: "http://rebind.example/"}, after)
	w.transport.DialContext = again.transport.DialContext // the same sink, and other answers of the DNS
	if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); !errors.Is(err, ErrInternalAddress) || len(changed.allowed) > 0 {
		t.Errorf("dialled %v, %v", changed.allowed, err)
	}
}

func TestAllowNetworksOpensExactlyWhatItSays(t *testing.T) {
	t.Parallel()
	dns := newDNS(t, zonesOf(map[string]string{
		"in.example": "10.1.2.3", "edge.example": "10.1.255.255", "beside.example": "10.2.0.0", "public.example": "93.184.216.34", "loop.example": "127.0.0.1",
		"metadata.example": "169.254.169.254", "mapped.example": "::ffff:10.1.2.3", "unique.example": "fd00:1::5", "other-unique.example": "fd00:2::5",
	}))
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")}
	for name, want := range map[string]bool{
		"in.example": true, "edge.example": true, "public.example": true, "mapped.example": true, "unique.example": true,
		"beside.example": false, "loop.example": false, "metadata.example": false, "other-unique.example": false,
	} {
		w, r := newRecorded(t, Options{URL: "http://" + name + "/", AllowNetworks: networks}, dns)
		_, err := w.Deliver(t.Context(), sinktest.Sized(1, 0))
		if (len(r.allowed) == 1) != want || errors.Is(err, ErrInternalAddress) == want {
			t.Errorf("%s: dialled %v, refused %v, %v; want allowed %v", name, r.allowed, r.refused, err, want)
		}
	}
}

// TestARedirectIsJudgedLikeAnyTarget is about the one format that follows them.
func TestARedirectIsJudgedLikeAnyTarget(t *testing.T) {
	t.Parallel()
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	})
	inside := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the internal host was reached") })
	port := inside.URL[strings.LastIndex(inside.URL, ":"):]
	for _, to := range []string{"http://127.0.0.2" + port, "http://[::1]" + port, "http://localhost.example" + port, "http://169.254.169.254/latest"} {
		w, err := New(Options{
			URL: server.URL + "/?to=" + url.QueryEscape(to), Format: FormatCloudMailin,
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		})
		if err != nil {
			t.Fatal(err)
		}
		dns := newDNS(t, map[string]mockdns.Zone{"localhost.example.": {A: []string{"127.0.0.3"}}})
		dialer := newDialer(Options{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, nil)
		dialer.Resolver = &net.Resolver{}
		dns.PatchNet(dialer.Resolver)
		w.transport.DialContext = dialer.DialContext
		_, err = w.Deliver(t.Context(), sinktest.Sized(1, 0))
		w.Close()
		if !errors.Is(err, ErrInternalAddress) {
			t.Errorf("redirect to %s: %v", to, err)
		}
	}
}
