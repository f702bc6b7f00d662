// Command relay is a small SMTP-to-HTTP relay as people write them: go-smtp in front, enmime for the content, one POST of
// JSON with the whole mail while the client waits for its 250. It keeps nothing: when the endpoint fails, the sender
// hears 451. With -lmtp it stands behind a mail server.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-smtp"
	"github.com/jhillyerd/enmime/v2"
)

type relay struct {
	url      string
	client   *http.Client
	resolver *net.Resolver // nil: no SPF
}

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "address")
	url := flag.String("url", "", "where mails are posted")
	lmtp := flag.Bool("lmtp", false, "LMTP instead of SMTP")
	names := flag.String("dns", "", "name server to check SPF with; empty checks nothing")
	flag.Parse()
	r := &relay{url: *url, client: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute},
	}}
	if *names != "" {
		r.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, *names)
		}}
	}
	s := smtp.NewServer(r)
	s.LMTP, s.Domain, s.MaxRecipients, s.MaxMessageBytes = *lmtp, "relay.example.com", 100, 64<<20
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	log.Fatal(s.Serve(l))
}

// NewSession implements smtp.Backend.
func (r *relay) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{relay: r, conn: c}, nil
}

type session struct {
	*relay
	conn *smtp.Conn
	from string
	to   []string
	spf  string
}

func (s *session) Reset()        { s.from, s.to, s.spf = "", nil, "" }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	if s.resolver == nil {
		return nil
	}
	host, _, err := net.SplitHostPort(s.conn.Conn().RemoteAddr().String())
	if err != nil {
		return err
	}
	result, _ := spf.CheckHostWithSender(net.ParseIP(host), s.conn.Hostname(), from, spf.WithResolver(s.resolver))
	s.spf = string(result)
	if result == spf.Fail {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 23}, Message: "SPF fails"}
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// mail is what is posted.
type mail struct {
	From        string              `json:"from"`
	To          []string            `json:"to"`
	SPF         string              `json:"spf,omitempty"`
	Headers     map[string][]string `json:"headers"`
	Subject     string              `json:"subject"`
	Text        string              `json:"text"`
	HTML        string              `json:"html"`
	Attachments []attachment        `json:"attachments"`
}

type attachment struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	ContentID   string `json:"content_id"`
	Content     []byte `json:"content"`
}

func (s *session) Data(r io.Reader) error {
	env, err := enmime.ReadEnvelope(r)
	if err != nil {
		return err
	}
	m := mail{
		From: s.from, To: s.to, SPF: s.spf, Headers: map[string][]string{}, Subject: env.GetHeader("Subject"), Text: env.Text, HTML: env.HTML,
	}
	for _, name := range env.GetHeaderKeys() {
		m.Headers[name] = env.GetHeaderValues(name)
	}
	for _, parts := range [][]*enmime.Part{env.Attachments, env.Inlines, env.OtherParts} {
		for _, p := range parts {
			m.Attachments = append(m.Attachments, attachment{p.FileName, p.ContentType, p.ContentID, p.Content})
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	resp, err := s.client.Post(s.url, "application/json", bytes.NewReader(body))
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // the status decides
		_ = resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			err = errors.New(resp.Status)
		}
	}
	if err != nil {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try again later: " + strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	return nil
}
