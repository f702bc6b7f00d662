package webhook

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// minSecret is the length from which a configured value is cut out of texts; shorter ones would tear up words and
// guard nothing.
const minSecret = 4

// minToken is the length from which a part of a path is taken for a token; shorter ones are words.
const minToken = 16

// newRedactor returns a replacer that cuts everything secret of a sink out of a text: its secrets, the values of its
// header fields, user information, path segments and query of its URL, each also as it looks in a URL, in base64 (basic
// authentication) and in JSON; and more. Endpoints do echo requests in their answers.
func newRedactor(o Options, target *url.URL, user *url.Userinfo, proxy *url.URL, more []string) *strings.Replacer {
	secrets := slices.Clone(more)
	for _, s := range o.Secrets {
		_, key, _ := strings.Cut(s, "_")
		secrets = append(secrets, s, key)
	}
	for _, h := range o.Headers {
		secrets = append(secrets, h.Value, unbraced(h.Value))
		if _, credentials, ok := strings.Cut(unbraced(h.Value), " "); ok {
			secrets = append(secrets, credentials)
		}
	}
	for _, old := range o.OldSecrets {
		_, key, _ := strings.Cut(old.Secret, "_")
		secrets = append(secrets, old.Secret, key)
	}
	secrets = append(secrets, o.Bearer, o.Compat.Key)
	if o.User != "" || o.Password != "" {
		secrets = append(secrets, userSecrets(url.UserPassword(o.User, o.Password))...)
	}
	if o.OAuth2 != nil {
		secrets = append(secrets, userSecrets(url.UserPassword(o.OAuth2.ClientID, o.OAuth2.ClientSecret))...)
	}
	if user != nil {
		secrets = append(secrets, userSecrets(user)...)
	}
	if proxy != nil && proxy.User != nil {
		secrets = append(secrets, userSecrets(proxy.User)...)
	}
	secrets = append(secrets, target.RawQuery)
	for _, values := range target.Query() {
		secrets = append(secrets, values...)
	}
	for segment := range strings.SplitSeq(target.Path, "/") {
		if len(segment) >= minToken {
			secrets = append(secrets, segment)
		}
	}

	var forms []string
	for _, s := range secrets {
		if len(s) >= minSecret {
			forms = append(forms, s, url.QueryEscape(s), url.PathEscape(s), strings.ReplaceAll(s, "/", `\/`), inJSON(s))
		}
	}
	// The longest first: a secret must not be torn by a shorter one that it contains.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, redacted)
	}
	return strings.NewReplacer(pairs...)
}

// userSecrets are a password and the forms that user name and password take together.
func userSecrets(user *url.Userinfo) []string {
	password, _ := user.Password()
	return []string{password, user.String(), base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))}
}

func inJSON(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil { // cannot happen to a string
		return s
	}
	return string(quoted[1 : len(quoted)-1])
}

// redactedError has the text of err without secrets, and err's marks.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
