package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mxhook/pipeline"
	"mxhook/sinks/sinktest"
)

func TestCredentialsGoIntoAuthorization(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got.Store(r.Header.Get("Authorization")) })
	for want, o := range map[string]Options{
		"Bearer abc.def":          {Bearer: "abc.def"},
		"Basic YWxpY2U6cDpzcw==":  {User: "alice", Password: "p:ss"},
		"Basic OnRva2VuLXRva2Vu":  {Password: "token-token"},
		"Digest whatever it says": {Headers: []Header{{"authorization", "Digest whatever it says"}}},
	} {
		o.URL = server.URL
		if _, err := newWebhook(t, o).Deliver(t.Context(), sinktest.Sized(1, 0)); err != nil || got.Load() != want {
			t.Errorf("Authorization %q, %v; want %q", got.Load(), err, want)
		}
	}
	for _, o := range []Options{
		{Bearer: "abc", User: "alice"},
		{Bearer: "hunter2\r\nX: 1"},
		{User: "a:b", Password: "hunter2"},
		{Bearer: "abc", OAuth2: &OAuth2{TokenURL: "https://example.com", ClientID: "i", ClientSecret: "hunter2"}},
		{OAuth2: &OAuth2{TokenURL: "http://example.com", ClientID: "i", ClientSecret: "hunter2"}},
		{OAuth2: &OAuth2{TokenURL: "https://example.com", ClientID: "i"}},
		{OAuth2: &OAuth2{TokenURL: "https://a:hunter2@example.com", ClientID: "i", ClientSecret: "hunter2"}},
		{Proxy: "socks5://hunter2@example.com"},
		{Proxy: "http://a:hunter2@example.com/path"},
		{CA: "hunter2"},
		{Certificate: "hunter2"},
		{CertificateKey: "hunter2"},
		{OnStatus: []OnStatus{{"1xx", Retry}}},
		{OnStatus: []OnStatus{{"600", Retry}}},
		{OnStatus: []OnStatus{{"404", "forget"}}},
		{OnStatus: []OnStatus{{"4xx", Retry}, {"4xx", Success}}},
	} {
		o.URL, o.Secrets = "https://example.com/", []string{testSecret}
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

// tokenServer gives tokens that are valid for a minute, and an endpoint that takes the newest only.
type tokenServer struct {
	mu      sync.Mutex
	given   int
	refused int
	wrong   []string
	current string
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/token" {
		user, password, _ := r.BasicAuth()
		if err := r.ParseForm(); err != nil || user != "id%3A1" || password != "s+cret%26" || r.Form.Encode() != "audience=mail&grant_type=client_credentials&scope=a+b" {
			s.wrong = append(s.wrong, fmt.Sprint(user, password, r.Form, err))
		}
		s.given++
		s.current = fmt.Sprintf("token-number-%d", s.given)
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 60}`, s.current)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if len(body) == 0 {
		s.wrong = append(s.wrong, "a request without a body")
	}
	if r.Header.Get("Authorization") != "Bearer "+s.current {
		s.refused++
		w.WriteHeader(http.StatusUnauthorized)
	}
	fmt.Fprint(w, r.Header.Get("Authorization"))
}

func TestOAuth2TokensAreKeptRenewedAndReplaced(t *testing.T) {
	t.Parallel()
	endpoint := &tokenServer{}
	server := serve(t, endpoint.ServeHTTP)
	var clock atomic.Int64
	clock.Store(1795288624)
	w := newWebhook(t, Options{
		URL: server.URL + "/in", Now: func() time.Time { return time.Unix(clock.Load(), 0) }, Concurrency: 8,
		OAuth2: &OAuth2{TokenURL: server.URL + "/token", ClientID: "id:1", ClientSecret: "s cret&", Scopes: []string{"a", "b"}, Audience: "mail"},
	})
	deliver := func() {
		t.Helper()
		resp, err := w.Deliver(t.Context(), sinktest.Sized(10, 0))
		if err != nil || strings.Contains(resp.Detail, "token-number") {
			t.Errorf("%+v, %v", resp, err)
		}
	}
	counts := func(given, refused int) {
		t.Helper()
		endpoint.mu.Lock()
		defer endpoint.mu.Unlock()
		if endpoint.given != given || endpoint.refused != refused || len(endpoint.wrong) > 0 {
			t.Errorf("%d tokens, %d refused, wrong %v; want %d and %d", endpoint.given, endpoint.refused, endpoint.wrong, given, refused)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(deliver)
	}
	wg.Wait()
	counts(1, 0) // eight at once share one
	clock.Add(29)
	deliver()
	counts(1, 0)
	clock.Add(2) // 29 s before its end
	deliver()
	counts(2, 0)
	endpoint.mu.Lock()
	endpoint.current = "revoked"
	endpoint.mu.Unlock()
	deliver() // refused, replaced and taken in one attempt
	counts(3, 1)
}

func TestTokenAnswersAreJudged(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`200 {"access_token":"t"}`: "",

		`200 {"access_token":"t","token_type":"bearer","expires_in":"9"}`: "",
		`200 {"access_token":"t","token_type":"mac"}`:                     "only bearer",
		`200 {"access_token":"a\nb"}`:                                     "no usable access_token",
		`200 {}`:                                                          "no usable access_token",
		`200 hello`:                                                       "no JSON object",
		`400 {"error":"invalid_client","error_description":"who?"}`:       "400 Bad Request: invalid_client who?",

		`503 down`: "503 Service Unavailable",
		`302 `:     "302 Found",
	} {
		var status int
		fmt.Sscan(answer[:3], &status)
		_, valid, err := readToken(status, []byte(answer[4:]))
		if want == "" && (err != nil || valid <= 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", answer, valid, err)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"t","token_type":"bearer","expires_in":3600}`))
	f.Add(400, []byte(`{"error":"invalid_client"}`))
	f.Fuzz(func(t *testing.T, status int, answer []byte) {
		if token, valid, err := readToken(status, answer); err == nil && (token == "" || valid <= 0 || valid > 30*24*time.Hour) {
			t.Errorf("token %q for %v", token, valid)
		}
	})
}

// certificate makes a certificate for 127.0.0.1, signed by parent, or by itself, as PEM.
func certificate(t testing.TB, name string, parent *tls.Certificate) (cert tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if cert, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM)); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

func TestOwnAuthorityAndClientCertificate(t *testing.T) {
	t.Parallel()
	ca, caPEM, _ := certificate(t, "authority", nil)
	server, _, _ := certificate(t, "server", &ca)
	_, clientPEM, clientKey := certificate(t, "client", &ca)
	_, otherPEM, _ := certificate(t, "other authority", nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	var who atomic.Value
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		who.Store(r.TLS.PeerCertificates[0].Subject.CommonName + " " + r.Proto)
	}))
	endpoint.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	endpoint.EnableHTTP2 = true
	endpoint.Config.ErrorLog = log.New(io.Discard, "", 0)
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)

	w := newWebhook(t, Options{URL: endpoint.URL, CA: caPEM, Certificate: clientPEM, CertificateKey: clientKey})
	resp, err := w.Deliver(t.Context(), sinktest.Sized(1, 0))
	if err != nil || who.Load() != "client HTTP/2.0" || resp.Timings.TLS == 0 {
		t.Errorf("%v came, %+v, %v", who.Load(), resp, err)
	}
	for name, o := range map[string]Options{
		"no certificate":  {CA: caPEM},
		"other authority": {CA: otherPEM, Certificate: clientPEM, CertificateKey: clientKey},
	} {
		o.URL = endpoint.URL
		if _, err := newWebhook(t, o).Deliver(t.Context(), sinktest.Sized(1, 0)); err == nil || pipeline.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// proxy is an HTTP proxy that connects everything to one address, whatever it was asked for.
type proxy struct {
	to    string
	asked []string
	mu    sync.Mutex
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		(&passer{to: p.to}).ServeHTTP(w, r)
		return
	}
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { // ends when either side closes
		defer there.Close()
		io.Copy(there, here)
	}()
	io.Copy(here, there)
	here.Close()
}

// passer passes one request in clear text on.
type passer struct{ to string }

func (p *passer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", p.to
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

// names resolves from a table.
type names map[string]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ip, ok := n[host]; ok {
		return []netip.Addr{netip.MustParseAddr(ip)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestProxyIsUsedAndTheTargetIsStillJudged(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int32
	endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		arrived.Add(1)
	})
	p := &proxy{to: endpoint.Listener.Addr().String()}
	through := serve(t, p.ServeHTTP)
	address := "http://alice:open%20sesame@" + through.Listener.Addr().String() // on loopback, and the guard must not mind
	resolver := names{"public.example": "93.184.216.34", "inside.example": "10.1.2.3", "listed.example": "10.9.0.1"}
	for target, want := range map[string]string{
		"http://public.example/in":      "",
		"http://unresolvable.example/x": "", // the proxy may know it
		"http://listed.example/":        "",
		"http://inside.example/":        "internal address 10.1.2.3",
		"https://inside.example/":       "internal address 10.1.2.3",
	} {
		before := arrived.Load()
		w, err := New(Options{
			URL: target, Secrets: []string{testSecret}, Proxy: address, Resolver: resolver,
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Deliver(t.Context(), sinktest.Sized(1, 0))
		w.Close()
		if reached := arrived.Load() > before; want == "" && (err != nil || !reached) || want != "" && (!errors.Is(err, ErrInternalAddress) || reached) {
			t.Errorf("%s: reached %v, error %v", target, reached, err)
		}
	}
	for _, asked := range p.asked {
		if !strings.HasPrefix(asked, "POST ") || !strings.HasSuffix(asked, " Basic YWxpY2U6b3BlbiBzZXNhbWU=") {
			t.Errorf("the proxy was asked %q", asked)
		}
	}
}

func TestRedirectThroughAProxyIsJudged(t *testing.T) {
	t.Parallel()
	var asked []string // one request after the other
	through := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked = append(asked, r.URL.Host)
		http.Redirect(w, r, "http://"+map[string]string{"first.example": "second.example"}[r.URL.Host]+r.URL.Path, http.StatusTemporaryRedirect)
	})
	for _, to := range []string{"10.1.2.3", "169.254.169.254", "127.0.0.1"} {
		asked = nil
		w, err := New(Options{
			URL: "http://first.example/in", Format: FormatCloudMailin, Proxy: through.URL,
			Resolver: names{"first.example": "93.184.216.34", "second.example": to},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Deliver(t.Context(), sinktest.Sized(1, 0))
		w.Close()
		if !errors.Is(err, ErrInternalAddress) || len(asked) != 1 {
			t.Errorf("redirect to %s: the proxy was asked for %q, error %v", to, asked, err)
		}
	}
}

func TestProxyTunnelsTLS(t *testing.T) {
	t.Parallel()
	ca, caPEM, _ := certificate(t, "authority", nil)
	server, _, _ := certificate(t, "server", &ca)
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	endpoint.TLS = &tls.Config{Certificates: []tls.Certificate{server}}
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	p := &proxy{to: endpoint.Listener.Addr().String()}
	through := serve(t, p.ServeHTTP)
	w := newWebhook(t, Options{URL: endpoint.URL, CA: caPEM, Proxy: through.URL})
	if _, err := w.Deliver(t.Context(), sinktest.Sized(1, 0)); err != nil {
		t.Error(err)
	}
	w.Close()
	if len(p.asked) != 1 || !strings.HasPrefix(p.asked[0], "CONNECT 127.0.0.1:") {
		t.Errorf("the proxy was asked %q", p.asked)
	}
}

func TestStatusTableDecides(t *testing.T) {
	t.Parallel()
	table, err := actionsOf(standardActions, []int{422}, []OnStatus{
		{"404", Success}, {"4xx", DeadLetter}, {"2xx", Retry}, {"204", Success}, {"429", Retry}, {"410", Retry},
	})
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]Action{
		200: Retry, 204: Success, 301: Retry, 400: DeadLetter, 404: Success, 410: Retry, 422: DeadLetter, 429: Retry, 500: Retry,
		101: Retry, 600: Retry, 999: Retry,
	} {
		if got := table.of(status); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
	target, _ := url.Parse("https://example.com/")
	err = outcome(target, &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}}, table, time.Now())
	if d, ok := pipeline.AskedDelay(err); !ok || d != 7*time.Second {
		t.Errorf("retry asks %v, %v", d, err)
	}
	disabling, err := actionsOf(standardActions, nil, []OnStatus{{"403", Disable}})
	if err != nil {
		t.Fatal(err)
	}
	if err := outcome(target, &http.Response{StatusCode: 403}, disabling, time.Now()); !pipeline.Disables(err) || pipeline.IsPermanent(err) {
		t.Errorf("disable: %v", err)
	}
	if err := outcome(target, &http.Response{StatusCode: 404}, table, time.Now()); err != nil {
		t.Errorf("a status that means success: %v", err)
	}
}
