package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// OAuth2 gets bearer tokens by the client credentials grant (RFC 6749 4.4).
type OAuth2 struct {
	// TokenURL is the token endpoint, https, or http where AllowPrivate or AllowNetworks is set.
	TokenURL               string
	ClientID, ClientSecret string
	Scopes                 []string
	// Audience is a parameter that some servers want; "" leaves it out.
	Audience string
	// InBody sends the client's credentials as parameters, for servers that do not take them in the header (2.3.1).
	InBody bool
}

// Times of tokens: one is renewed when it has renewBefore left, and one of which the server does not say how long it is
// valid is used for unknownValidity.
const (
	renewBefore     = 30 * time.Second
	unknownValidity = 5 * time.Minute
)

// tokenSource keeps the token of a sink. Safe for concurrent use: one of those who need a token gets it, the others wait.
type tokenSource struct {
	oauth     OAuth2
	target    *url.URL
	transport http.RoundTripper
	check     func(ctx context.Context, host string) error
	now       func() time.Time

	lock    chan struct{} // holds one element while the fields below are used
	token   string
	renewAt time.Time
}

func newTokenSource(o Options) (*tokenSource, error) {
	var fields address
	target, user, err := (Options{URL: o.OAuth2.TokenURL}).endpoint(&fields)
	switch {
	case err != nil:
		return nil, fmt.Errorf("oauth2: token_url: %w", err)
	case fields.path != nil || fields.query != nil:
		return nil, errors.New("oauth2: token_url has fields in braces: it is the same for all mail")
	case user != nil:
		return nil, errors.New("oauth2: token_url has user information: set client_id and client_secret")
	case target.Scheme == "http" && !o.AllowPrivate && len(o.AllowNetworks) == 0:
		return nil, errors.New("oauth2: token_url must start with https://: the client's secret goes there")
	case o.OAuth2.ClientID == "" || o.OAuth2.ClientSecret == "":
		return nil, errors.New("oauth2: client_id and client_secret are both needed")
	}
	return &tokenSource{oauth: *o.OAuth2, target: target, now: o.Now, lock: make(chan struct{}, 1)}, nil
}

// get returns a token. fresh says that it was got just now; its use cannot fail for its age.
func (s *tokenSource) get(ctx context.Context) (token string, fresh bool, err error) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return "", false, fmt.Errorf("wait for a token from %s: %w", s.target.Host, context.Cause(ctx))
	}
	defer func() { <-s.lock }()
	if s.token != "" && s.now().Before(s.renewAt) {
		return s.token, false, nil
	}
	token, valid, err := s.fetch(ctx)
	if err != nil {
		return "", false, fmt.Errorf("get a token from %s://%s: %w", s.target.Scheme, s.target.Host, err)
	}
	s.token, s.renewAt = token, s.now().Add(max(valid-renewBefore, valid/2))
	return token, true, nil
}

// drop forgets a token that was refused, unless another one has taken its place.
func (s *tokenSource) drop(ctx context.Context, token string) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done(): // who holds the lock is getting another one
		return
	}
	defer func() { <-s.lock }()
	if s.token == token {
		s.token = ""
	}
}

func (s *tokenSource) fetch(ctx context.Context) (string, time.Duration, error) {
	if s.check != nil {
		if err := s.check(ctx, s.target.Hostname()); err != nil {
			return "", 0, err
		}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(s.oauth.Scopes) > 0 {
		form.Set("scope", strings.Join(s.oauth.Scopes, " "))
	}
	if s.oauth.Audience != "" {
		form.Set("audience", s.oauth.Audience)
	}
	if s.oauth.InBody {
		form.Set("client_id", s.oauth.ClientID)
		form.Set("client_secret", s.oauth.ClientSecret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if !s.oauth.InBody {
		req.SetBasicAuth(url.QueryEscape(s.oauth.ClientID), url.QueryEscape(s.oauth.ClientSecret))
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", 0, fmt.Errorf("read the answer: %w", err)
	}
	return readToken(resp.StatusCode, answer)
}

// readToken reads the answer of a token endpoint (RFC 6749 5.1, 5.2).
func readToken(status int, answer []byte) (string, time.Duration, error) {
	var t struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	err := decoder.Decode(&t)
	switch {
	case status != http.StatusOK && err == nil && t.Error != "":
		return "", 0, fmt.Errorf("%s: %s", statusText(status), short(strings.TrimSpace(t.Error+" "+t.Description)))
	case status != http.StatusOK:
		return "", 0, errors.New(statusText(status))
	case err != nil:
		return "", 0, errors.New("the answer is no JSON object with an access_token")
	case t.AccessToken == "" || !httpguts.ValidHeaderFieldValue(t.AccessToken):
		return "", 0, errors.New("the answer has no usable access_token")
	case t.TokenType != "" && !strings.EqualFold(t.TokenType, "bearer"):
		return "", 0, fmt.Errorf("the token is of type %q: only bearer tokens can be used", short(t.TokenType))
	}
	valid := unknownValidity
	if seconds, err := t.ExpiresIn.Float64(); err == nil && seconds > 0 {
		valid = time.Duration(min(seconds, (30*24*time.Hour).Seconds()) * float64(time.Second))
	}
	return t.AccessToken, valid, nil
}

// short bounds what another server says before it goes into an error.
func short(s string) string {
	s = clean(s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
