package relay

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func newSRS(t testing.TB, domain string, now func() time.Time, keys ...string) *SRS {
	t.Helper()
	s, err := NewSRS(SRSOptions{Domain: domain, Keys: keys, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	oneKey   = "0123456789abcdef0123456789abcdef"
	otherKey = "fedcba9876543210fedcba9876543210"
)

func TestSRSAddressesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	ours := newSRS(t, "srs.example.com", now, oneKey)
	theirs := newSRS(t, "fwd.example.net", now, otherKey)
	for _, path := range []string{
		"alice@example.org", "a=b=c+d@example.org", `"a b"@example.org`, `"x@y"@example.org`, "SRSfoo@example.org", "jörg@example.org",
	} {
		rewritten := ours.Forward(path)
		if !strings.HasPrefix(strings.Trim(rewritten, `"`), "SRS0=") || !strings.HasSuffix(rewritten, "@srs.example.com") || !ours.Owns(rewritten) {
			t.Errorf("%s becomes %s", path, rewritten)
		}
		if got, err := ours.Reverse(rewritten); err != nil || got != path {
			t.Errorf("%s becomes %s and %q, %v", path, rewritten, got, err)
		}
		// The next forwarder, and the one after it, name the first one.
		second := theirs.Forward(rewritten)
		if !strings.HasPrefix(strings.Trim(second, `"`), "SRS1=") {
			t.Errorf("%s becomes %s", rewritten, second)
		}
		third := newSRS(t, "third.example", now, otherKey).Forward(second)
		for s, address := range map[*SRS]string{theirs: second, newSRS(t, "third.example", now, otherKey): third} {
			if got, err := s.Reverse(address); err != nil || got != rewritten {
				t.Errorf("%s comes back as %q, %v; want %s", address, got, err, rewritten)
			}
		}
	}
	for _, path := range []string{"", "x@srs.example.com", "x@SRS.example.com"} {
		if got := ours.Forward(path); got != path {
			t.Errorf("%q becomes %q", path, got)
		}
	}
	// Relays that fold local parts do no harm.
	if got, err := ours.Reverse(strings.ToLower(ours.Forward("Alice@example.org"))); err != nil || got != "alice@example.org" {
		t.Errorf("folded: %q, %v", got, err)
	}
}

func TestSRSRefusesWhatItDidNotMake(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	s := newSRS(t, "srs.example.com", now, oneKey)
	good := s.Forward("alice@example.org")
	other := newSRS(t, "srs.example.com", now, otherKey)
	both := newSRS(t, "srs.example.com", now, otherKey, oneKey)
	later := func(days int) *SRS {
		return newSRS(t, "srs.example.com", func() time.Time { return at.AddDate(0, 0, days) }, oneKey)
	}
	for _, c := range []struct {
		name    string
		s       *SRS
		address string
		want    error
	}{
		{"good", s, good, nil},
		{"by an older key", both, good, nil},
		{"on the last day", later(21), good, nil},
		{"a day late", later(22), good, ErrSRSExpired},
		{"from the future", later(-1), good, ErrSRSExpired},
		{"by another key", other, good, ErrSRSForged},
		{"of another sender", s, strings.Replace(good, "alice", "mallory", 1), ErrSRSForged},
		{"without a hash", s, "SRS0=x@srs.example.com", ErrSRSForged},
		{"of SRS1 without a host", s, "SRS1=x==y@srs.example.com", ErrSRSForged},
		{"of another domain", s, strings.Replace(good, "srs.example.com", "example.com", 1), ErrNotSRS},
		{"not SRS", s, "alice@srs.example.com", ErrNotSRS},
	} {
		if _, err := c.s.Reverse(c.address); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := s.Check(good, ""); err != nil {
		t.Error(err)
	}
	if s.Check(good, "x@example.org") == nil {
		t.Error("mail that is no bounce was taken")
	}
}

func FuzzSRSReverse(f *testing.F) {
	s := newSRS(f, "srs.example.com", nil, oneKey)
	f.Add(s.Forward("alice@example.org"))
	f.Add("SRS1=x=y==z@srs.example.com")
	f.Add("SRS0==@srs.example.com")
	f.Fuzz(func(t *testing.T, address string) {
		if path, err := s.Reverse(address); err == nil && s.Forward(path) == "" {
			t.Errorf("%q stands for nothing", address)
		}
		if back := s.Forward(address); back != address && !s.Owns(back) {
			t.Errorf("%q becomes %q, which is not ours", address, back)
		}
	})
}
