package webhook

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"mxhook/pipeline"
)

// maxDetail bounds pipeline.Response.Detail, maxAnswer what is read of an answer before its connection is given up.
const (
	maxDetail = 16 << 10
	maxAnswer = 64 << 10
)

// maxRetryAfter bounds what an endpoint may ask for; no schedule is longer.
const maxRetryAfter = 30 * 24 * time.Hour

// outcome judges an answer by the action for its status: nil for success, Permanent for a dead letter, Disable, RetryAfter where
// the endpoint asked for a delay; else a transient error. target is where the request went.
func outcome(target *url.URL, resp *http.Response, actions *statusTable, now time.Time) error {
	code := resp.StatusCode
	action := actions.of(code)
	if action == Success {
		return nil
	}
	err := fmt.Errorf("endpoint answered %s", statusText(code))
	if code >= 300 && code <= 399 {
		err = fmt.Errorf("%w%s", err, redirectText(target, resp.Header.Get("Location")))
	}
	switch action {
	case DeadLetter:
		return pipeline.Permanent(err)
	case Disable:
		return pipeline.Disable(err)
	}
	if d := retryAfter(resp.Header.Get("Retry-After"), now); d > 0 {
		return pipeline.RetryAfter(err, d)
	}
	return err
}

// statusText names a status in our words; the endpoint's own reason phrase could be anything.
func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return strconv.Itoa(code) + " " + text
	}
	return strconv.Itoa(code)
}

// redirectText names the host that a redirect points to. Path, query and user information stay out: they may hold
// secrets, ours or the endpoint's.
func redirectText(target *url.URL, location string) string {
	const hint = ": redirects are not followed, set url to the final address"
	if location == "" {
		return hint
	}
	to, err := target.Parse(location)
	if err != nil || to.Host == "" || len(to.Host) > 255 {
		return ", a redirect to an unreadable address" + hint
	}
	text := ", a redirect to " + clean(to.Scheme+"://"+to.Host)
	if to.Scheme == target.Scheme && to.Host == target.Host && to.Path == target.Path+"/" {
		text += " with a slash added to the path"
	}
	return text + hint
}

// retryAfter reads the field of that name (RFC 9110 10.2.3): seconds or a date. 0 is nothing usable.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

// detail makes the start of an answer fit to be shown: valid UTF-8, without control characters, at most maxDetail
// octets.
func detail(answer string) string {
	s := strings.TrimSpace(clean(answer))
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "")
	}
	return s
}

// clean replaces what is no UTF-8, and control characters other than line ends and tabs: the text ends up on terminals.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if r == '\r' {
			return -1
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
