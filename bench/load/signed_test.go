package load

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// What varies between two mails stands outside of the signature, so every mail passes.
func TestSignedMailsVerify(t *testing.T) {
	for _, size := range []int{10_000, 2_000_000} {
		source, record, err := Signed(Mix{{Size: size, Share: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			mail := source(n)
			if got := len(mail); got < size*9/10 || got > size*11/10 {
				t.Errorf("a mail of %d has %d octets", size, got)
			}
			results, err := dkim.VerifyWithOptions(bytes.NewReader(mail), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
				if want := Selector + "._domainkey." + Domain; name != want {
					t.Errorf("%s was asked for, want %s", name, want)
				}
				return []string{record}, nil
			}})
			if err != nil || len(results) != 1 || results[0].Err != nil {
				t.Fatalf("mail %d of %d: %v, %+v", n, size, err, results)
			}
		}
	}
}

func TestMailsOfAMixAreDifferentAndEndInALine(t *testing.T) {
	source, _, err := Signed(Mix{{Size: 3000, Share: 1}, {Size: 10_000, Share: 1}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for n := range 20 {
		mail := string(source(n))
		if !strings.HasSuffix(mail, "\r\n") || strings.Contains(mail, "\r\n.") {
			t.Errorf("mail %d cannot be sent as it is", n)
		}
		seen[mail] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d different mails of 20", len(seen))
	}
}

func TestQuantilesAreWithinFivePercent(t *testing.T) {
	var h Histogram
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .99: 990 * time.Millisecond, 1: time.Second} {
		if got := h.Quantile(q); got < want*95/100 || got > want*106/100 {
			t.Errorf("quantile %g: %s, want about %s", q, got, want)
		}
	}
}
