package webhook

import (
	"net/http"
)

// isRedirect reports whether an answer names another address for the same request (RFC 9110 15.4).
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirected returns the same request, method and body included, for the address that an answer names; nil when that is
// unreadable, is no http address, or would turn https into clear text. Another host gets none of the fields that the sink
// adds, which are credentials more often than not.
func redirected(req *http.Request, resp *http.Response) *http.Request {
	to, err := req.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" || to.Host == "" || to.User != nil ||
		(to.Scheme != "https" && to.Scheme != "http") || (req.URL.Scheme == "https" && to.Scheme == "http") {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	next := req.Clone(req.Context())
	to.Fragment = ""
	next.URL, next.Host, next.Body = to, to.Host, body
	if to.Host != req.URL.Host || to.Scheme != req.URL.Scheme {
		next.Header = http.Header{}
		for _, name := range []string{"Content-Type", "User-Agent", HeaderID, HeaderTimestamp, HeaderSignature} {
			if v := req.Header.Get(name); v != "" {
				next.Header.Set(name, v)
			}
		}
	}
	return next
}
