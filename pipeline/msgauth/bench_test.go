package msgauth

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
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

func quotedTXT(s string) string {
	var b strings.Builder
	for len(s) > 200 {
		b.WriteString(`"` + s[:200] + `" `)
		s = s[200:]
	}
	return b.String() + `"` + s + `"`
}
