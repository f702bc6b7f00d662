// Package doctor looks at an installation from the outside, as senders and operators would: DNS, port, certificate,
// policies, endpoints, disk and queue. It changes nothing.
package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"mxhook/configs"
)

// Resolver is the part of DNS that is asked. Errors are *net.DNSError.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Dial opens every connection that is made; addresses are IP addresses with a port.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Options are what is looked at, and through what. Config, Resolver and Dial are required.
type Options struct {
	Config *configs.Config
	// Domains are looked at; none: those of the configuration that have no wildcard.
	Domains  []string
	Resolver Resolver
	Dial     Dial
	// Roots are what certificates are trusted by; nil means those of the system.
	Roots *x509.CertPool
	Now   func() time.Time
	// Timeout bounds each question; 0 means 10 s.
	Timeout time.Duration
}

// Grade says how bad a finding is.
type Grade string

// Grades. Advice is no fault: mail arrives without following it.
const (
	Fine   Grade = "ok"
	Advice Grade = "note"
	Wrong  Grade = "WRONG"
)

// Finding is one thing that was looked at: what is the case, and what to do about it.
type Finding struct {
	Grade Grade
	About string
	Text  string
	Do    string // "" when there is nothing to do
}

// Report is everything that was found, in the order in which it was looked at.
type Report struct {
	Findings []Finding
	// Records are DNS records, in the form of a zone file, that belong to this installation.
	Records []string
	// Policy is the MTA-STS policy that belongs to it.
	Policy string
}

// Healthy reports whether nothing is wrong.
func (r *Report) Healthy() bool {
	for _, f := range r.Findings {
		if f.Grade == Wrong {
			return false
		}
	}
	return true
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-5s  %-10s  %s\n", f.Grade, f.About, f.Text)
		if f.Do != "" {
			fmt.Fprintf(&b, "%-5s  %-10s  → %s\n", "", "", f.Do)
		}
	}
	b.WriteString("\nDNS records that belong to this installation (TLSA only where the zone is signed by DNSSEC):\n\n")
	for _, record := range r.Records {
		fmt.Fprintf(&b, "    %s\n", record)
	}
	b.WriteString("\nThe MTA-STS policy, https://mta-sts.DOMAIN/.well-known/mta-sts.txt:\n\n")
	for line := range strings.Lines(r.Policy) {
		fmt.Fprintf(&b, "    %s\n", strings.TrimRight(line, "\r\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// examination is one run.
type examination struct {
	Options
	host   string
	addrs  []netip.Addr // of the host
	report Report
}

// Examine looks at everything. What cannot be found out is a finding, not an error.
func Examine(ctx context.Context, o Options) *Report {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	e := &examination{Options: o, host: strings.ToLower(strings.TrimSuffix(o.Config.SMTP.Hostname, "."))}
	e.hostname(ctx)
	e.port(ctx)
	e.certificates()
	for _, domain := range e.domains() {
		e.domain(ctx, domain)
	}
	e.report.Policy = o.Config.SMTP.MTASTS.Policy(e.host)
	e.endpoints(ctx)
	e.disk()
	e.running(ctx)
	return &e.report
}

func (e *examination) domains() []string {
	if len(e.Domains) > 0 {
		return e.Domains
	}
	var out []string
	for _, d := range e.Config.Domains {
		if !strings.Contains(d.Domain, "*") {
			out = append(out, d.Domain)
		}
	}
	return out
}

func (e *examination) fine(about, format string, args ...any) {
	e.add(Finding{Grade: Fine, About: about, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) note(about, do, format string, args ...any) {
	e.add(Finding{Grade: Advice, About: about, Text: fmt.Sprintf(format, args...), Do: do})
}

func (e *examination) wrong(about, do, format string, args ...any) {
	e.add(Finding{Grade: Wrong, About: about, Text: fmt.Sprintf(format, args...), Do: do})
}

func (e *examination) add(f Finding) { e.report.Findings = append(e.report.Findings, f) }

func (e *examination) record(format string, args ...any) {
	e.report.Records = append(e.report.Records, fmt.Sprintf(format, args...))
}

// within bounds one question.
func (e *examination) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.Timeout)
}
