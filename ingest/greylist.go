package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Greylist defers mail of unknown clients until they try again (RFC 6647). A zero Delay switches it off.
//
// A combination of client network (/24, /48), reverse-path and recipient that was never seen gets 450 4.7.1 until Delay
// has passed; a client network that came back after it is never greylisted again while it goes on to send within Keep.
// When the memory fails, mail is accepted.
type Greylist struct {
	Delay time.Duration
	// Window is how long a first try is remembered. Default 2 days.
	Window time.Duration
	// Keep is how long a client that has passed is remembered. Default 36 days.
	Keep time.Duration
	// Memory is required when Delay is set. Several nodes share what they remember by sharing it.
	Memory GreylistMemory
}

// GreylistMemory keeps times by key. Keys are letters and digits, at most 80. It is called concurrently.
type GreylistMemory interface {
	// Get returns the time that was put, if it is still kept.
	Get(ctx context.Context, key string) (at time.Time, ok bool, err error)
	// Put keeps a time for at least that long, as far as there is room.
	Put(ctx context.Context, key string, at time.Time, keep time.Duration) error
}

func (g Greylist) withDefaults() Greylist {
	g.Window = cmp.Or(g.Window, 48*time.Hour)
	g.Keep = cmp.Or(g.Keep, 36*24*time.Hour)
	return g
}

// greylisted reports whether a recipient has to wait.
func (s *session) greylisted(ctx context.Context, rcpt Address) bool {
	g := &s.srv.admission.Greylist
	if g.Delay == 0 || s.exempt || IsPostmaster(rcpt.Local) {
		return false
	}
	wait, err := g.wait(ctx, keysOf(s.client.IP).network.String(), s.tx.reversePath.String(), rcpt.String(), s.srv.opts.Now())
	if err != nil {
		s.log.Warn("greylist: memory failed, the recipient is accepted", "error", err)
		return false
	}
	return wait
}

// wait looks a delivery up and notes it.
func (g *Greylist) wait(ctx context.Context, network, from, to string, now time.Time) (bool, error) {
	passed := "passed" + hashKey(network)
	at, ok, err := g.Memory.Get(ctx, passed)
	if err != nil {
		return false, err
	}
	if ok {
		if now.Sub(at) < g.Keep/10 {
			return false, nil // noted not long ago
		}
		return false, g.Memory.Put(ctx, passed, now, g.Keep)
	}
	tried := "tried" + hashKey(network, strings.ToLower(from), strings.ToLower(to))
	first, ok, err := g.Memory.Get(ctx, tried)
	switch {
	case err != nil:
		return false, err
	case !ok:
		return true, g.Memory.Put(ctx, tried, now, g.Window)
	case now.Sub(first) < g.Delay:
		return true, nil
	}
	return false, g.Memory.Put(ctx, passed, now, g.Keep)
}

func hashKey(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
