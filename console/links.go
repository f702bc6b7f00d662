package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// RawPart stands for the whole message where a part is named.
const RawPart = "raw"

// LinkOptions are the inputs of NewLinks; all are required.
type LinkOptions struct {
	// BaseURL is where receivers reach the ops listener: scheme and host, perhaps a path that a proxy takes off. Path is
	// where the listener serves links, with a slash at both ends.
	BaseURL, Path string
	// Key signs. Whoever has it can make links, so it is as secret as the mail.
	Key []byte
	// Valid is how long a link works.
	Valid time.Duration
	Now   func() time.Time
}

// Links makes and checks the URLs of attachments: a message, a part of it and a time, signed, so that whoever has the URL
// can get that part and nothing else, until then. Safe for concurrent use.
type Links struct{ opts LinkOptions }

// NewLinks returns the links of those options.
func NewLinks(o LinkOptions) *Links {
	o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	return &Links{o}
}

// URL returns the link to a part of a message, by the part's id or RawPart; "" for a message that the queue does not keep.
func (l *Links) URL(m *pipeline.Message, part string) string {
	if m.Ref == "" || m.Envelope.ID == "" {
		return ""
	}
	k := link{message: m.Envelope.ID, part: part, ref: m.Ref, expires: l.opts.Now().Add(l.opts.Valid).Unix()}
	q := url.Values{
		"expires": {strconv.FormatInt(k.expires, 10)}, "ref": {k.ref},
		"signature": {base64.RawURLEncoding.EncodeToString(l.sign(k))},
	}
	return l.opts.BaseURL + l.opts.Path + url.PathEscape(k.message) + "/" + url.PathEscape(part) + "?" + q.Encode()
}

// link is what a URL says.
type link struct {
	message, part, ref string
	expires            int64
}

var (
	errLinkForged  = errors.New("this link was not made here, or it was changed")
	errLinkExpired = errors.New("this link has expired; another attempt or a replay of the delivery brings a new one")
)

// check returns what a request asks for.
func (l *Links) check(message, part string, q url.Values) (link, error) {
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil {
		return link{}, errLinkForged
	}
	k := link{message: message, part: part, ref: q.Get("ref"), expires: expires}
	signature, err := base64.RawURLEncoding.DecodeString(q.Get("signature"))
	if err != nil || !hmac.Equal(signature, l.sign(k)) {
		return link{}, errLinkForged
	}
	if l.opts.Now().Unix() >= expires {
		return link{}, errLinkExpired
	}
	return k, nil
}

// sign covers everything that a link says. Lengths stand before the texts, so that none can be moved into another.
func (l *Links) sign(k link) []byte {
	mac := hmac.New(sha256.New, l.opts.Key)
	fmt.Fprintf(mac, "mxhook link 1 %d", k.expires)
	for _, s := range []string{k.message, k.part, k.ref} {
		fmt.Fprintf(mac, " %d:%s", len(s), s)
	}
	return mac.Sum(nil)
}
