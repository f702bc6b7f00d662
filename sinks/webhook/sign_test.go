package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// signedHeader returns the header fields of a request with that body.
func signedHeader(t testing.TB, secrets []string, id string, at time.Time, body string) http.Header {
	t.Helper()
	s, err := newSigner(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return sealed(t, s, id, at, body)
}

// sealed signs a body, in pieces.
func sealed(t testing.TB, s *signer, id string, at time.Time, body string) http.Header {
	t.Helper()
	h, z := http.Header{}, s.seal(id, at)
	for part := range slices.Chunk([]byte(body), 1000) {
		z.Write(part)
	}
	if err := z.finish(h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestOldSecretSignsUntilItsTime(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	s, err := newSigner([]string{testSecret}, OldSecret{Secret: otherSecret, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at     time.Time
		secret string
		want   error
	}{
		{until.Add(-time.Second), testSecret, nil},
		{until.Add(-time.Second), otherSecret, nil},
		{until, testSecret, nil},
		{until, otherSecret, ErrSignatureMismatch},
	} {
		v, err := NewVerifier([]string{tt.secret}, func() time.Time { return tt.at })
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(sealed(t, s, "id", tt.at, "body"), []byte("body")); !errors.Is(err, tt.want) {
			t.Errorf("%s at %v: %v, want %v", tt.secret[:10], tt.at.Sub(until), err, tt.want)
		}
	}
	if _, err := newSigner([]string{testSecret}, OldSecret{Secret: otherSecret}); err == nil {
		t.Error("an old secret without an end was taken")
	}
}

func TestSignatureMatchesTheLibraryOfTheStandard(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{}", "{\"a\":\"%s %d ü\"}", strings.Repeat("x", 100_000)} {
		now := time.Now()
		h := signedHeader(t, []string{testSecret}, "01KAK5.helpdesk", now, body)
		library, err := standardwebhooks.NewWebhook(testSecret)
		if err != nil {
			t.Fatal(err)
		}
		if err := library.Verify([]byte(body), h); err != nil {
			t.Errorf("%.20q: %v", body, err)
		}
		if err := library.Verify([]byte(body+"x"), h); err == nil {
			t.Errorf("%.20q: the library takes another body", body)
		}
		if want, _ := library.Sign("01KAK5.helpdesk", now, []byte(body)); want != h.Get(HeaderSignature) {
			t.Errorf("%.20q: %q, the library says %q", body, h.Get(HeaderSignature), want)
		}
	}
}

func TestRotationSatisfiesHoldersOfEitherSecret(t *testing.T) {
	t.Parallel()
	h := signedHeader(t, []string{otherSecret, testSecret}, "id", time.Now(), "body")
	for _, secret := range []string{testSecret, otherSecret} {
		library, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := library.Verify([]byte("body"), h); err != nil {
			t.Error(err)
		}
	}
}

func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "testdata", "webhook", "standard-webhooks.json"))
	if err != nil {
		t.Logf("no vectors from outside: %v", err)
		return
	}
	var vectors []struct {
		ID        string
		Payload   string
		Secret    string
		MessageID string `json:"webhook-id"`
		Signature string `json:"webhook-signature"`
		Timestamp int64  `json:"webhook-timestamp"`
	}
	if err := json.Unmarshal(data, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		at := time.Unix(v.Timestamp, 0)
		h := signedHeader(t, []string{v.Secret}, v.MessageID, at, v.Payload)
		if got := h.Get(HeaderSignature); got != v.Signature {
			t.Errorf("%s: signature %q, want %q", v.ID, got, v.Signature)
		}
		verifier, err := NewVerifier([]string{v.Secret}, func() time.Time { return at })
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(h, []byte(v.Payload)); err != nil {
			t.Errorf("%s: %v", v.ID, err)
		}
	}
}

func TestEd25519IsVerifiedWithThePublicKey(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := signedHeader(t, []string{testPrivate}, "id", now, "body")
	if !strings.HasPrefix(h.Get(HeaderSignature), "v1a,") {
		t.Errorf("signature %q", h.Get(HeaderSignature))
	}
	for _, secret := range []string{testPublic, testPrivate} {
		v, err := NewVerifier([]string{secret}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(h, []byte("body")); err != nil {
			t.Error(err)
		}
		if err := v.Verify(h, []byte("Body")); !errors.Is(err, ErrSignatureMismatch) {
			t.Errorf("another body: %v", err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	now := time.Unix(1795288624, 0)
	genuine := signedHeader(t, []string{testSecret}, "id", now, "body")
	value := genuine.Get(HeaderSignature)
	v, err := NewVerifier([]string{testSecret}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(http.Header)
		want   error
	}{
		"nothing wrong":          {func(http.Header) {}, nil},
		"fits among others":      {func(h http.Header) { h.Set(HeaderSignature, "v1,AAAA v2,x junk "+value) }, nil},
		"no id":                  {func(h http.Header) { h.Del(HeaderID) }, ErrSignatureHeader},
		"no timestamp":           {func(h http.Header) { h.Del(HeaderTimestamp) }, ErrSignatureHeader},
		"no signature":           {func(h http.Header) { h.Del(HeaderSignature) }, ErrSignatureHeader},
		"two ids":                {func(h http.Header) { h.Add(HeaderID, "id2") }, ErrSignatureHeader},
		"timestamp is no number": {func(h http.Header) { h.Set(HeaderTimestamp, "now") }, ErrSignatureHeader},
		"timestamp overflows":    {func(h http.Header) { h.Set(HeaderTimestamp, "99999999999999999999") }, ErrSignatureHeader},
		"another id":             {func(h http.Header) { h.Set(HeaderID, "id2") }, ErrSignatureMismatch},
		"another timestamp":      {func(h http.Header) { h.Set(HeaderTimestamp, "1795288625") }, ErrSignatureMismatch},
		"signed timestamp":       {func(h http.Header) { h.Set(HeaderTimestamp, "+1795288624") }, ErrSignatureMismatch},
		"another version":        {func(h http.Header) { h.Set(HeaderSignature, "v2"+value[2:]) }, ErrSignatureMismatch},
		"symmetric as v1a":       {func(h http.Header) { h.Set(HeaderSignature, "v1a"+value[2:]) }, ErrSignatureMismatch},
		"cut short":              {func(h http.Header) { h.Set(HeaderSignature, value[:len(value)-4]) }, ErrSignatureMismatch},
		"behind too many":        {func(h http.Header) { h.Set(HeaderSignature, strings.Repeat("v1,AAAA ", maxSignatures)+value) }, ErrSignatureMismatch},
	} {
		h := genuine.Clone()
		tt.change(h)
		if err := v.Verify(h, []byte("body")); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
}

func TestVerifyToleratesFiveMinutes(t *testing.T) {
	t.Parallel()
	signed := time.Unix(1795288624, 0)
	h := signedHeader(t, []string{testSecret}, "id", signed, "body")
	for off, want := range map[time.Duration]error{
		0: nil, Tolerance: nil, -Tolerance: nil,
		Tolerance + time.Second: ErrSignatureTimestamp, -Tolerance - time.Second: ErrSignatureTimestamp,
	} {
		v, err := NewVerifier([]string{testSecret}, func() time.Time { return signed.Add(off) })
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(h, []byte("body")); !errors.Is(err, want) {
			t.Errorf("clock off by %v: error %v, want %v", off, err, want)
		}
	}
}

func TestSecretsAreChecked(t *testing.T) {
	t.Parallel()
	encoded := func(prefix string, n int) string {
		return prefix + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n)))
	}
	for secret, want := range map[string]string{
		encoded("whsec_", 24): "", encoded("whsec_", 64): "", encoded("whsk_", 32): "", testPrivate: "",
		encoded("whsec_", 23): "24 to 64", encoded("whsec_", 65): "24 to 64",
		encoded("whsk_", 64): "halves", encoded("whsk_", 33): "32 or 64",
		testPublic: "public key", "hunter2hunter2": `does not start with "whsec_"`, "": `does not start with "whsec_"`,
		"whsec_hunter2!": "not base64", encoded("whxx_", 32): `does not start with "whsec_"`,
	} {
		_, err := newSigner([]string{secret})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", secret, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "secret 1 ")):
			t.Errorf("%q: error %v, want %q", secret, err, want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
	if _, err := New(Options{URL: "https://example.com"}); err == nil {
		t.Error("a sink without a secret was taken")
	}
	if _, err := newSigner(strings.Fields(strings.Repeat(testSecret+" ", maxSecrets+1))); err == nil {
		t.Error("too many secrets were taken")
	}
	if _, err := NewVerifier(nil, nil); err == nil {
		t.Error("a verifier without a secret was made")
	}
}

func FuzzVerify(f *testing.F) {
	now := time.Unix(1795288624, 0)
	h := signedHeader(f, []string{testSecret}, "id", now, "body")
	f.Add("id", "1795288624", h.Get(HeaderSignature), []byte("body"))
	f.Add("id", "1795288624", "v1,AAAA v1a,BBBB v2", []byte(""))
	f.Add("", "-1", ",,, ,", []byte("."))
	v, err := NewVerifier([]string{testSecret, testPublic}, func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	genuine := "id" + "1795288624" + "body"
	f.Fuzz(func(t *testing.T, id, stamp, signature string, body []byte) {
		got := http.Header{}
		got.Set(HeaderID, id)
		got.Set(HeaderTimestamp, stamp)
		got.Set(HeaderSignature, signature)
		if err := v.Verify(got, body); err == nil && id+stamp+string(body) != genuine {
			t.Errorf("took id %q, timestamp %q, signature %q, body %q", id, stamp, signature, body)
		}
	})
}
