package msgauth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"mxhook/pipeline"
)

// BenchmarkStage authenticates a signed mail whose DNS answers are in the cache.
func BenchmarkStage(b *testing.B) {
	for _, size := range []int{3 << 10, 30 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			body := strings.Repeat("The quick brown fox jumps over the lazy dog, and back again tomorrow.\r\n", size/71)
			raw := sign(b, plainMail+body, dkim.SignOptions{Signer: testKeys().rsa, Selector: "rsa"})
			r := newResolver(b, ResolverConfig{}, serveDNS(b, zoneHandler(b,
				"example.org. 3600 TXT \"v=spf1 ip4:192.0.2.1 -all\"",
				"_dmarc.example.org. 3600 TXT \"v=DMARC1; p=reject\"",
				"mail.example.org. 3600 A 192.0.2.1",
				"1.2.0.192.in-addr.arpa. 3600 PTR mail.example.org.",
				"rsa._domainkey.example.org. 3600 TXT "+quotedTXT(testKeys().rsaRecord),
			)))
			s := newStage(r)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				m := message("192.0.2.1", "mail.example.org", "alice@example.org", raw)
				if err := s.Run(b.Context(), m); err != nil || !m.Auth.Sender.Verified || !m.Auth.DMARC.DKIMAligned {
					b.Fatalf("%v %+v", err, m.Auth)
				}
			}
		})
	}
}

// BenchmarkMethods measures each method on a mail of 30 KB with one RSA signature and a warm cache, and the chain of a
// mail that one host has sealed.
func BenchmarkMethods(b *testing.B) {
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, and back again tomorrow.\r\n", 30<<10/71)
	zone := keyZone(
		"example.org TXT v=spf1 ip4:192.0.2.1 -all", "_dmarc.example.org TXT v=DMARC1; p=reject",
		"mail.example.org A 192.0.2.1", "1.2.0.192.in-addr.arpa PTR mail.example.org.",
	)
	raw := sign(b, plainMail+body, dkim.SignOptions{Signer: testKeys().rsa, Selector: "rsa"})
	chain := sealed(b, zone, raw, "list.example")
	chained := []byte(chain)
	ctx, now := b.Context(), time.Now()
	s := newStage(zone)
	for _, method := range []struct {
		name string
		run  func(m *pipeline.Message)
	}{
		{"spf", func(m *pipeline.Message) { s.checkSPF(ctx, &m.Envelope) }},
		{"dkim", func(m *pipeline.Message) { s.checkDKIM(ctx, m.Raw, now) }},
		{"arc without a chain", func(m *pipeline.Message) { s.checkARC(ctx, m.Raw, now) }},
		{"arc", func(*pipeline.Message) { s.checkARC(ctx, chained, now) }},
		{"iprev", func(m *pipeline.Message) { s.checkIPRev(ctx, m.Envelope.Client.IP) }},
		{"dmarc", func(*pipeline.Message) {
			s.discover(&walker{ctx: ctx, resolver: zone, seen: make(map[string]lookedUp)}, "example.org")
		}},
		{"author", func(m *pipeline.Message) { _, _ = authorDomain(m.Raw); authorProblems(m.Raw) }},
		{"all", func(m *pipeline.Message) {
			if err := s.Run(ctx, m); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(method.name, func(b *testing.B) {
			m := message("192.0.2.1", "mail.example.org", "alice@example.org", raw)
			b.ReportAllocs()
			for b.Loop() {
				m.Auth, m.Problems = nil, nil
				method.run(m)
			}
		})
	}
}

func quotedTXT(s string) string {
	var b strings.Builder
	for len(s) > 200 {
		b.WriteString(`"` + s[:200] + `" `)
		s = s[200:]
	}
	return b.String() + `"` + s + `"`
}
