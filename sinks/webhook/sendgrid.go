package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
)

// sendGrid is the form of SendGrid's Inbound Parse: always multipart, with the parts of the mail or the whole of it.
type sendGrid struct {
	compat
	whole bool
	key   *ecdsa.PrivateKey // nil: not signed
}

// The header fields of SendGrid's signature.
const (
	sendGridSignature = "X-Twilio-Email-Event-Webhook-Signature"
	sendGridTimestamp = "X-Twilio-Email-Event-Webhook-Timestamp"
)

func newSendGrid(c compat, whole bool) (sendGrid, error) {
	g := sendGrid{compat: c, whole: whole}
	if c.Key == "" {
		return g, nil
	}
	key, err := parsePrivateKeyPEM(c.Key)
	if err == nil {
		var ok bool
		if g.key, ok = key.(*ecdsa.PrivateKey); !ok || g.key.Curve != elliptic.P256() {
			err = errors.New("is for another algorithm")
		}
	}
	if err != nil {
		return g, fmt.Errorf("compat: key %w: make one with: openssl ecparam -name prime256v1 -genkey -noout", err)
	}
	return g, nil
}

// parsePrivateKeyPEM reads a private key of any kind. The error does not quote it.
func parsePrivateKeyPEM(text string) (any, error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("is no private key in PEM")
		}
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	}
}

// compose implements format.
func (g sendGrid) compose(_ context.Context, d *pipeline.Delivery, at time.Time) (*content, error) {
	in := g.read(d)
	f := &form{}
	charsets := map[string]string{}
	text := func(name, value string) {
		if value != "" || name == "to" || name == "from" || name == "subject" {
			f.add(name, value)
			charsets[name] = "UTF-8"
		}
	}
	notes := http.Header{}
	if g.whole {
		open := g.bytes(in, notes)
		f.addLarge("email", func() io.Reader { return escaping(open(), escapeLF) })
	} else {
		f.add("headers", sendGridHeaders(in))
	}
	f.add("dkim", sendGridDKIM(in.auth.DKIM))
	for _, name := range []string{"to", "cc", "from", "subject"} {
		text(name, in.header(name))
	}
	if !g.whole {
		text("text", in.ownText())
		text("html", in.content.HTML)
	}
	f.add("sender_ip", in.ip())
	f.add("SPF", result(in.auth.SPF.Result))
	envelope := struct {
		To   []string `json:"to"`
		From string   `json:"from"`
	}{in.recipients(), in.envelope.ReversePath}
	if err := f.addJSON("envelope", envelope); err != nil {
		return nil, err
	}
	if err := f.addJSON("charsets", charsets); err != nil {
		return nil, err
	}
	if !g.whole {
		if err := sendGridFiles(f, in); err != nil {
			return nil, err
		}
	}
	c := f.multipart()
	for name, values := range notes {
		c.header[name] = values
	}
	in.note(c.header)
	if g.key != nil {
		z := &sendGridSeal{key: g.key, at: unixTime(at), digest: sha256.New()}
		io.WriteString(z.digest, z.at)
		c.seals = append(c.seals, z)
	}
	return c, nil
}

// sendGridHeaders is the header as a text of unfolded lines that end in LF, encoded words as they are. A field that is not
// UTF-8 is there as it was decoded.
func sendGridHeaders(in *incoming) string {
	var b strings.Builder
	add := func(name, value string) { b.WriteString(name + ": " + value + "\n") }
	for _, trace := range []string{in.envelope.Received, in.auth.Field} {
		for f := range pipeline.Fields([]byte(trace)) {
			add(string(f.Name), unfold(f.Body))
		}
	}
	decoded := map[string][]string{} // made once: a mail can have millions of fields
	for _, h := range in.content.Headers {
		name := strings.ToLower(h.Name)
		decoded[name] = append(decoded[name], h.Value)
	}
	seen := map[string]int{}
	for f := range pipeline.Fields(in.Message.Raw) {
		if len(f.Name) == 0 || pipeline.ForgedResults(f, in.envelope.Hostname) {
			continue
		}
		name := visibleName(f.Name)
		if name == "" {
			continue
		}
		n := seen[strings.ToLower(name)]
		seen[strings.ToLower(name)]++
		value := unfold(f.Body)
		if values := decoded[strings.ToLower(string(f.Name))]; n < len(values) && !utf8.Valid(f.Body) {
			value = oneLine(values[n])
		}
		if serviceVerdict(f.Name) {
			name = pipeline.ForeignPrefix + name
		}
		add(name, value)
	}
	return b.String()
}

// sendGridDKIM is not JSON, though it looks like it.
func sendGridDKIM(signatures []pipeline.DKIMResult) string {
	var verdicts []string
	for _, k := range signatures {
		if k.Result != pipeline.ResultNone {
			verdicts = append(verdicts, "@"+oneLine(k.Domain)+" : "+k.Result)
		}
	}
	if len(verdicts) == 0 {
		return "none"
	}
	return "{" + strings.Join(verdicts, ", ") + "}"
}

// sendGridFiles adds the attachments, each with its entry in attachment-info: receivers rely on it.
func sendGridFiles(f *form, in *incoming) error {
	type info struct {
		Filename  string `json:"filename"`
		Name      string `json:"name"`
		Type      string `json:"type"`
		ContentID string `json:"content-id,omitempty"`
	}
	infos, ids := map[string]info{}, map[string]string{}
	for i, a := range in.files {
		name := fmt.Sprintf("attachment%d", i+1)
		f.addFile(name, a)
		sent := a.SentName
		if sent == "" {
			sent = a.Filename
		}
		infos[name] = info{a.Filename, sent, mediaType(a.ContentType), a.ContentID}
		if a.ContentID != "" && ids[a.ContentID] == "" {
			ids[a.ContentID] = name
		}
	}
	f.add("attachments", fmt.Sprint(len(in.files)))
	if len(infos) > 0 {
		if err := f.addJSON("attachment-info", infos); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		return f.addJSON("content-ids", ids)
	}
	return nil
}

// sendGridSeal is ECDSA over the timestamp and the body.
type sendGridSeal struct {
	key    *ecdsa.PrivateKey
	at     string
	digest hash.Hash
}

// Write implements io.Writer.
func (z *sendGridSeal) Write(p []byte) (int, error) { return z.digest.Write(p) }

// finish implements seal.
func (z *sendGridSeal) finish(h http.Header) error {
	signature, err := ecdsa.SignASN1(rand.Reader, z.key, z.digest.Sum(nil))
	if err != nil {
		return err
	}
	h.Set(sendGridSignature, base64.StdEncoding.EncodeToString(signature))
	h.Set(sendGridTimestamp, z.at)
	return nil
}
