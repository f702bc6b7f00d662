package doctor_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
	"mxhook/cmd/mxhook/doctor"
)

// world is what surrounds an installation: a DNS of maps, and a network in which addresses of the documentation lead to
// listeners on loopback, and every other one nowhere.
type world struct {
	txt   map[string][]string
	addrs map[string][]string
	mx    map[string][]*net.MX
	ptr   map[string][]string
	hosts map[string]string

	mu     sync.Mutex
	dialed []string
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
}

func find[V any](m map[string][]V, name string) ([]V, error) {
	if v := m[name]; len(v) > 0 {
		return v, nil
	}
	return nil, notFound(name)
}

func (w *world) LookupTXT(_ context.Context, name string) ([]string, error) { return find(w.txt, name) }

func (w *world) LookupMX(_ context.Context, name string) ([]*net.MX, error) { return find(w.mx, name) }

func (w *world) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return find(w.ptr, addr)
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	texts, err := find(w.addrs, host)
	var addrs []netip.Addr
	for _, t := range texts {
		addrs = append(addrs, netip.MustParseAddr(t))
	}
	return addrs, err
}

func (w *world) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, address)
	w.mu.Unlock()
	target, ok := w.hosts[address]
	if !ok {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	return new(net.Dialer).DialContext(ctx, network, target)
}

const config = `
data_dir: {{.Dir}}/data
smtp:
  hostname: mx.example.com
  listeners: [{name: mx, address: "127.0.0.1:0", tls: starttls}]
  tls: {cert_file: '{{.Dir}}/mx.pem', key_file: '{{.Dir}}/mx.key'}
  mta_sts: {mode: enforce}
domains: [{domain: example.com}, {domain: "*.example.net"}]
sinks:
  - name: hook
    webhook: {url: "https://app.example.com/hook", secret: "{{.Secret}}"}
default: [hook]
dns: {servers: ["{{.DNS}}"]}
queue: {reserve: 10MB}
ops: {address: "127.0.0.1:0"}
`

// installation is one in which everything is right.
func installation(t *testing.T) (*world, doctor.Options) {
	t.Helper()
	dir := t.TempDir()
	ca := apptest.NewAuthority(t)
	ca.WritePair(dir, "mx", 90*24*time.Hour, "mx.example.com")
	i := apptest.Start(t, apptest.Options{Dir: dir, Config: config})
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What the HTTPS server of mta-sts.example.com would do: ask mxhook.
		resp, err := http.Get(i.Ops() + r.URL.Path)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	certFile, keyFile := ca.WritePair(dir, "web", 90*24*time.Hour, "mta-sts.example.com", "app.example.com")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	web.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	web.StartTLS()
	t.Cleanup(web.Close)
	w := &world{
		addrs: map[string][]string{"mx.example.com": {"192.0.2.1"}, "mta-sts.example.com": {"192.0.2.2"}, "app.example.com": {"192.0.2.3"}},
		ptr:   map[string][]string{"192.0.2.1": {"mx.example.com."}},
		mx:    map[string][]*net.MX{"example.com": {{Host: "mx.example.com.", Pref: 10}}},
		hosts: map[string]string{
			"192.0.2.1:25": i.SMTP(), "192.0.2.2:443": web.Listener.Addr().String(), "192.0.2.3:443": web.Listener.Addr().String(),
			"127.0.0.1:0": i.App.OpsAddr().String(),
		},
	}
	o := doctor.Options{Config: i.Config, Resolver: w, Dial: w.Dial, Roots: ca.Pool(), Now: time.Now}
	report := doctor.Examine(t.Context(), o)
	w.txt = map[string][]string{}
	for _, r := range report.Records {
		name, text, ok := strings.Cut(r, `. IN TXT "`)
		if ok {
			w.txt[name] = []string{strings.TrimSuffix(text, `"`)}
		}
	}
	w.dialed = nil
	return w, o
}

func TestDoctorFindsNothingWrongWhereNothingIs(t *testing.T) {
	t.Parallel()
	w, o := installation(t)
	report := doctor.Examine(t.Context(), o)
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Grade != doctor.Fine {
			t.Errorf("%s %s: %s", f.Grade, f.About, f.Text)
		}
	}
	for _, want := range []string{
		"mx.example.com is 192.0.2.1, and back", "192.0.2.1:25 greets as mx.example.com", "TLS 1.3, certificate for mx.example.com until",
		"mail for example.com goes to mx.example.com", "names the policy that is configured here", "the policy of example.com names mx.example.com",
		"v=TLSRPTv1", "sink hook: app.example.com answers", "queue.reserve is 10MB", "is ready",
		"example.com. IN MX 10 mx.example.com.", "_25._tcp.mx.example.com. IN TLSA 3 1 1 ", "mode: enforce", "mx: mx.example.com", "max_age: 604800",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
	slices.Sort(w.dialed)
	if want := []string{"127.0.0.1:0", "192.0.2.1:25", "192.0.2.2:443", "192.0.2.3:443"}; !slices.Equal(w.dialed, want) {
		t.Errorf("connections to %v, want %v", w.dialed, want)
	}
}

func TestDoctorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w, o := installation(t)
	greeter := serve(t, "220 other.example.org ESMTP\r\n", "250-other.example.org\r\n250 SIZE 1\r\n")
	silent := serve(t, "554 no\r\n", "")
	for _, tc := range []struct {
		name  string
		spoil func(w *world, o *doctor.Options)
		grade doctor.Grade
		want  string
	}{
		{"no address", func(w *world, _ *doctor.Options) { delete(w.addrs, "mx.example.com") }, doctor.Wrong, "mx.example.com has no address"},
		{"no reverse", func(w *world, _ *doctor.Options) { w.ptr = nil }, doctor.Advice, "192.0.2.1 (of mx.example.com) has no reverse name"},
		{"other reverse", func(w *world, _ *doctor.Options) { w.ptr["192.0.2.1"] = []string{"host-1.isp.example."} }, doctor.Advice, "is named host-1.isp.example"},
		{"no MX", func(w *world, _ *doctor.Options) { w.mx = nil }, doctor.Wrong, "example.com has no MX record"},
		{"other MX", func(w *world, _ *doctor.Options) { w.mx["example.com"][0].Host = "mail.isp.example." }, doctor.Wrong, "goes to mail.isp.example, not to mx.example.com"},
		{"null MX", func(w *world, _ *doctor.Options) { w.mx["example.com"][0].Host = "." }, doctor.Wrong, "RFC 7505"},
		{"MX is an address", func(w *world, _ *doctor.Options) { w.mx["example.com"][0].Host = "192.0.2.1." }, doctor.Wrong, "is an IP address"},
		{"second MX", func(w *world, _ *doctor.Options) {
			w.mx["example.com"] = append(w.mx["example.com"], &net.MX{Host: "mx2.example.com.", Pref: 20})
		}, doctor.Advice, "and to mx2.example.com"},
		{"other domain", func(_ *world, o *doctor.Options) { o.Domains = []string{"bücher.example"} }, doctor.Wrong, "xn--bcher-kva.example has no MX record"},
		{"port closed", func(w *world, _ *doctor.Options) { delete(w.hosts, "192.0.2.1:25") }, doctor.Wrong, "nobody answers at 192.0.2.1:25"},
		{"no STARTTLS", func(w *world, _ *doctor.Options) { w.hosts["192.0.2.1:25"] = greeter }, doctor.Wrong, "192.0.2.1:25 does not offer STARTTLS"},
		{"other greeting", func(w *world, _ *doctor.Options) { w.hosts["192.0.2.1:25"] = greeter }, doctor.Advice, "greets as"},
		{"no greeting", func(w *world, _ *doctor.Options) { w.hosts["192.0.2.1:25"] = silent }, doctor.Wrong, "does not greet"},
		{"unknown authority", func(_ *world, o *doctor.Options) { o.Roots = apptest.NewAuthority(t).Pool() }, doctor.Wrong, "signed by unknown authority"},
		{"expired", func(_ *world, o *doctor.Options) {
			o.Now = func() time.Time { return time.Now().Add(100 * 24 * time.Hour) }
		}, doctor.Wrong, "has expired"},
		{"expires", func(_ *world, o *doctor.Options) {
			o.Now = func() time.Time { return time.Now().Add(80 * 24 * time.Hour) }
		}, doctor.Advice, "expires on"},
		{"no policy record", func(w *world, _ *doctor.Options) { delete(w.txt, "_mta-sts.example.com") }, doctor.Advice, "has no MTA-STS record"},
		{"old policy record", func(w *world, _ *doctor.Options) { w.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1"} }, doctor.Advice, "which is not the id"},
		{"two policy records", func(w *world, _ *doctor.Options) {
			w.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1", "v=STSv1; id=2"}
		}, doctor.Wrong, "has 2 MTA-STS records"},
		{"policy not served", func(w *world, _ *doctor.Options) { delete(w.hosts, "192.0.2.2:443") }, doctor.Wrong, "cannot be fetched"},
		{"policy without us", func(_ *world, o *doctor.Options) { o.Config.SMTP.Hostname = "mail.example.com" }, doctor.Wrong, "does not name mail.example.com"},
		{"no reports", func(w *world, _ *doctor.Options) { delete(w.txt, "_smtp._tls.example.com") }, doctor.Advice, "asks nobody to report"},
		{"endpoint down", func(w *world, _ *doctor.Options) { delete(w.hosts, "192.0.2.3:443") }, doctor.Wrong, "nobody answers at app.example.com"},
		{"endpoint without address", func(w *world, _ *doctor.Options) { delete(w.addrs, "app.example.com") }, doctor.Wrong, "app.example.com has no address"},
		{"disk full", func(_ *world, o *doctor.Options) { o.Config.Queue.Reserve = 1 << 50 }, doctor.Wrong, "queue.reserve is"},
		{"not running", func(w *world, _ *doctor.Options) { delete(w.hosts, "127.0.0.1:0") }, doctor.Wrong, "no mxhook answers"},
		{"certificate gone", func(_ *world, o *doctor.Options) { o.Config.SMTP.TLS.CertFile = filepath.Join(t.TempDir(), "none.pem") }, doctor.Wrong, "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := w.clone()
			o := o
			cfg := *o.Config
			o.Config, o.Resolver, o.Dial = &cfg, w, w.Dial
			tc.spoil(w, &o)
			report := doctor.Examine(t.Context(), o)
			if tc.grade == doctor.Wrong && report.Healthy() {
				t.Error("it is called healthy")
			}
			for _, f := range report.Findings {
				if f.Grade == tc.grade && strings.Contains(f.Text, tc.want) {
					if f.Do == "" {
						t.Errorf("nothing is said about what to do: %+v", f)
					}
					return
				}
			}
			t.Errorf("no finding %s says %q: %+v", tc.grade, tc.want, report.Findings)
		})
	}
}

// clone is a world that can be spoiled by itself.
func (w *world) clone() *world {
	c := &world{
		txt: maps.Clone(w.txt), addrs: maps.Clone(w.addrs), ptr: maps.Clone(w.ptr), hosts: maps.Clone(w.hosts), mx: map[string][]*net.MX{},
	}
	for domain, mxs := range w.mx {
		for _, mx := range mxs {
			one := *mx
			c.mx[domain] = append(c.mx[domain], &one)
		}
	}
	return c
}

// serve answers every connection with a greeting and one reply.
func serve(t *testing.T, greeting, reply string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, greeting)
			_, _ = conn.Read(make([]byte, 512))
			_, _ = io.WriteString(conn, reply)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}
