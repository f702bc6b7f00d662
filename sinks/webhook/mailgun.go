package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/textproto"
	"time"

	"mxhook/pipeline"
)

// mailgun is the form of Mailgun's routes: a form with the parts of the mail, or, for URLs that end in "mime" there, with
// the whole of it.
type mailgun struct {
	compat
	whole bool
}

func newMailgun(c compat, whole bool) (mailgun, error) {
	if c.Key == "" {
		return mailgun{}, errors.New("compat: key is missing: give the HTTP webhook signing key that the receiver checks with")
	}
	return mailgun{c, whole}, nil
}

const (
	// mailgunToken is the length of a token.
	mailgunToken = 50
	// maxURLEncoded is the size from which a form goes as multipart: percent-encoding triples what is not ASCII, and
	// receivers bound forms, Rack at 4 MiB.
	maxURLEncoded = 1 << 20
	// maxHeaderFields bounds the header fields that become form fields; receivers bound those, Django at 1000.
	maxHeaderFields = 500
)

// compose implements format.
func (g mailgun) compose(_ context.Context, d *pipeline.Delivery, at time.Time) (*content, error) {
	in := g.read(d)
	added := mailgunHeaders(in)
	in.headers = append(added, in.headers...)
	f := &form{}
	f.add("recipient", in.recipient().Address)
	f.add("sender", in.envelope.ReversePath)
	f.add("from", in.header("From"))
	f.add("subject", in.header("Subject"))
	size := 0
	notes := content{header: map[string][]string{}}
	if g.whole {
		f.addLarge("body-mime", g.bytes(in, notes.header, added...))
		size = len(d.Message.Raw)
	} else {
		if err := g.parts(f, in); err != nil {
			return nil, err
		}
		size = len(in.content.Text) + len(in.content.HTML)
	}
	g.sign(f, d, at)
	mailgunFields(f, in.headers)

	c := f.multipart
	if len(f.files) == 0 && (g.Form == FormURLEncoded || g.Form == "" && size < maxURLEncoded) {
		c = f.urlencoded
	}
	out := c()
	for name, values := range notes.header {
		out.header[name] = values
	}
	in.note(out.header)
	return out, nil
}

// parts adds what the mail was parsed into.
func (g mailgun) parts(f *form, in *incoming) error {
	f.add("body-plain", in.content.Text)
	if in.content.HTML != "" {
		f.add("body-html", in.content.HTML)
	}
	if text, signature, ok := in.reply(); ok {
		f.add("stripped-text", text)
		f.add("stripped-signature", signature)
	}
	ids := map[string]string{}
	for i, a := range in.files {
		name := fmt.Sprintf("attachment-%d", i+1)
		f.addFile(name, a)
		if id := "<" + a.ContentID + ">"; a.ContentID != "" && ids[id] == "" {
			ids[id] = name
		}
	}
	if len(in.files) > 0 {
		f.add("attachment-count", fmt.Sprint(len(in.files)))
	}
	if len(ids) > 0 {
		if err := f.addJSON("content-id-map", ids); err != nil {
			return err
		}
	}
	pairs := make([][2]string, len(in.headers))
	for i, h := range in.headers {
		pairs[i] = [2]string{h.Name, h.Value}
	}
	return f.addJSON("message-headers", pairs)
}

// sign adds the signature, which covers the token and the time only.
func (g mailgun) sign(f *form, d *pipeline.Delivery, at time.Time) {
	var random [mailgunToken / 2]byte
	_, _ = rand.Read(random[:]) // never fails
	token := hex.EncodeToString(random[:])
	if g.Token == TokenPerMessage {
		token = hmacHex(g.Key, "token of "+d.ID)[:mailgunToken]
	}
	f.add("timestamp", unixTime(at))
	f.add("token", token)
	f.add("signature", hmacHex(g.Key, unixTime(at)+token))
}

func hmacHex(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// mailgunHeaders are the fields that Mailgun puts on top of the mail.
func mailgunHeaders(in *incoming) []pipeline.HeaderField {
	hs := []pipeline.HeaderField{
		{Name: "X-Envelope-From", Value: "<" + in.envelope.ReversePath + ">"},
		{Name: "X-Mailgun-Incoming", Value: "Yes"},
	}
	if spf, ok := map[string]string{
		pipeline.ResultPass: "Pass", pipeline.ResultFail: "Fail", pipeline.ResultSoftFail: "SoftFail", pipeline.ResultNeutral: "Neutral",
		pipeline.ResultNone: "Neutral",
	}[in.auth.SPF.Result]; ok {
		hs = append(hs, pipeline.HeaderField{Name: "X-Mailgun-Spf", Value: spf})
	}
	if signed, valid := in.dkim(); signed {
		verdict := "Fail"
		if valid {
			verdict = "Pass"
		}
		hs = append(hs, pipeline.HeaderField{Name: "X-Mailgun-Dkim-Check-Result", Value: verdict})
	}
	return hs
}

// mailgunFields adds the header fields under their names with capitals, which are none of the names above: a sender's
// "recipient" becomes "Recipient".
func mailgunFields(f *form, headers []pipeline.HeaderField) {
	n := 0
	for _, h := range headers {
		if !fieldName(h.Name) {
			continue
		}
		if n++; n > maxHeaderFields {
			return
		}
		f.add(textproto.CanonicalMIMEHeaderKey(h.Name), h.Value)
	}
}

// addJSON adds a field that is JSON.
func (f *form) addJSON(name string, v any) error {
	var b bytes.Buffer
	if err := encodeJSON(&b, v); err != nil {
		return err
	}
	f.add(name, b.String())
	return nil
}
