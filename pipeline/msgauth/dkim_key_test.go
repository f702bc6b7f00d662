package msgauth

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// rsaRecord publishes an RSA key of that many bits; it signs nothing.
func rsaRecord(t testing.TB, bits uint) string {
	t.Helper()
	n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	const ed = "k=ed25519; p=MCowBQYD"
	for _, c := range []struct{ txt, why string }{
		{rsaRecord(t, 1024), ""},
		{rsaRecord(t, 4096), ""},
		{rsaRecord(t, 1023), "1023 bits"},
		{rsaRecord(t, 512), "512 bits"},
		{rsaRecord(t, 8193), "8193 bits"},
		{testKeys().edRecord, ""},
		{testKeys().rsaRecord + "; h=sha256:sha1; s=*; t=y:s; n=note; x=unknown", ""},
		{strings.Replace(testKeys().rsaRecord, "p=", "p=\r\n ", 1), ""},
		{ed, "Ed25519 public key has"},
		{"v=DKIM2; p=AAAA", "version"},
		{"v=DKIM1", "missing public key"},
		{"v=DKIM1; p=", "revoked"},
		{"v=DKIM1; p=!", "base64"},
		{"v=DKIM1; p=AAAA", "not an RSA public key"},
		{"v=DKIM1; k=dsa; p=AAAA", "unsupported key algorithm"},
		{"v=DKIM1; p=AAAA; p=BBBB", "twice"},
		{"nonsense", "key record error"},
		{"", "missing public key"},
	} {
		k, err := parseKey(c.txt)
		switch {
		case c.why == "" && err != nil:
			t.Errorf("%.60q: %v", c.txt, err)
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%.60q: %v, want %s", c.txt, err, c.why)
		case err == nil && (k.rsa == nil) == (k.ed == nil):
			t.Errorf("%.60q: %+v", c.txt, k)
		}
	}
}

func TestKeysForOtherThings(t *testing.T) {
	t.Parallel()
	signed := sign(t, plainMail, dkim.SignOptions{Signer: testKeys().rsa, Selector: "rsa"})
	for tags, want := range map[string]string{
		"": "pass", "; h=sha256": "pass", "; h=sha1:sha256": "pass", "; s=email": "pass", "; s=*": "pass", "; s=tlsrpt:email": "pass",
		"; h=sha1": "permerror", "; s=tlsrpt": "permerror", "; h=": "permerror",
	} {
		rs, _ := newStage(zoneOf("rsa._domainkey.example.org TXT "+testKeys().rsaRecord+tags)).checkDKIM(t.Context(), []byte(signed), time.Now())
		if rs[0].result != want {
			t.Errorf("key with %q: %s (%s), want %s", tags, rs[0].result, rs[0].reason, want)
		}
	}
	sha1 := strings.Replace(signed, "a=rsa-sha256", "a=rsa-sha1", 1)
	if rs, _ := newStage(keyZone()).checkDKIM(t.Context(), []byte(sha1), time.Now()); rs[0].result != "permerror" || !strings.Contains(rs[0].reason, "weak") {
		t.Errorf("sha1: %+v", rs[0])
	}
}

// TestSignaturesOfDomainsBeyondASCII: the domain stands in the signature as its signer likes (RFC 8616), in DNS as A-labels.
func TestSignaturesOfDomainsBeyondASCII(t *testing.T) {
	t.Parallel()
	const ascii = "xn--bcher-kva.example"
	mail := strings.ReplaceAll(plainMail, "example.org", "Bücher.example")
	for _, domain := range []string{"bücher.example", ascii, "BÜCHER.example"} {
		z := zoneOf("_dmarc."+ascii+" TXT v=DMARC1; p=reject", "s1._domainkey."+ascii+" TXT "+testKeys().edRecord)
		a := authenticate(t, newStage(z), message("", "", "", sign(t, mail, dkim.SignOptions{Domain: domain})))
		if !a.Sender.Verified || a.Sender.Domain != ascii || a.DKIM[0].Domain != ascii || !isASCII(a.Field) {
			t.Errorf("%s: %+v %+v %q", domain, a.Sender, a.DKIM, a.Field)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(testKeys().edRecord)
	f.Add(testKeys().rsaRecord + "; h=sha256; s=*; t=y:s")
	f.Add("v=DKIM1; p=")
	f.Fuzz(func(t *testing.T, txt string) {
		k, err := parseKey(txt)
		if err != nil {
			return
		}
		if k.rsa != nil && (k.rsa.N.BitLen() < minRSABits || k.rsa.N.BitLen() > maxRSABits) || k.rsa == nil && len(k.ed) != 32 {
			t.Fatalf("%q: %+v", txt, k)
		}
		k.verify(make([]byte, 32), make([]byte, 64))
	})
}
