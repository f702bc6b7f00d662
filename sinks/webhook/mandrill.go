package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the service's choice
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"mxhook/pipeline"
)

// mandrill is the form of Mandrill's inbound webhook: one field with JSON in it, a batch of one mail.
type mandrill struct {
	compat
	// signed is the URL that the signature is made over.
	signed string
}

func newMandrill(c compat, target *url.URL, o Options) (mandrill, error) {
	if c.Key == "" {
		return mandrill{}, errors.New("compat: key is missing: give the key of the webhook that the receiver checks with")
	}
	g := mandrill{compat: c, signed: c.SignatureURL}
	if g.signed == "" && strings.ContainsAny(o.URL, "{}") {
		return g, errors.New("compat: signature_url is missing: the signature covers the URL, and that of the sink has fields in braces")
	}
	if g.signed == "" {
		g.signed = o.URL
	}
	if g.signed == "" {
		g.signed = target.String()
	}
	return g, nil
}

// mandrillActions: 200 is the only success.
func mandrillActions(status int) Action {
	if status == http.StatusOK {
		return Success
	}
	return Retry
}

type mandrillEvent struct {
	Event string       `json:"event"`
	TS    int64        `json:"ts"`
	Msg   mandrillMail `json:"msg"`
}

type mandrillMail struct {
	RawMsg      *octets                 `json:"raw_msg"`
	Headers     map[string]any          `json:"headers"`
	Text        string                  `json:"text,omitempty"`
	TextFlowed  bool                    `json:"text_flowed"`
	HTML        string                  `json:"html,omitempty"`
	FromEmail   string                  `json:"from_email"`
	FromName    *string                 `json:"from_name"`
	To          [][2]*string            `json:"to"`
	Cc          [][2]*string            `json:"cc,omitempty"`
	Email       string                  `json:"email"`
	Subject     string                  `json:"subject"`
	Tags        []string                `json:"tags"`
	Sender      *string                 `json:"sender"`
	Template    *string                 `json:"template"`
	Attachments map[string]mandrillFile `json:"attachments,omitempty"`
	Images      map[string]mandrillFile `json:"images,omitempty"`
	DKIM        mandrillDKIM            `json:"dkim"`
	SPF         mandrillSPF             `json:"spf"`
}

type mandrillFile struct {
	Name    string  `json:"name"`
	Type    string  `json:"type"`
	Content *octets `json:"content"`
	Base64  bool    `json:"base64"`
}

type mandrillDKIM struct {
	Signed bool `json:"signed"`
	Valid  bool `json:"valid"`
}

type mandrillSPF struct {
	Result string `json:"result"`
	Detail string `json:"detail"`
}

// compose implements format.
func (g mandrill) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	in := g.read(d)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	open := g.raw(in, header)
	j := &document{}
	m := mandrillMail{
		RawMsg:  j.text(func() io.Reader { return escaping(open(), escapeLF) }),
		Headers: headerObject(in),
		Text:    in.ownText(), HTML: in.content.HTML, To: mandrillAddresses(in.content.To), Cc: mandrillAddresses(in.content.Cc),
		TextFlowed: strings.Contains(strings.ToLower(in.header("Content-Type")), "format=flowed"),
		Email:      in.recipient().Address, Subject: in.header("Subject"), Tags: []string{},
		SPF: mandrillSPF{result(in.auth.SPF.Result), in.auth.SPF.Reason},
	}
	if len(in.content.From) > 0 {
		m.FromEmail, m.FromName = in.content.From[0].Address, orNull(in.content.From[0].Name)
	}
	m.DKIM.Signed, m.DKIM.Valid = in.dkim()
	g.files(&m, in, j)
	b, err := j.body([]mandrillEvent{{Event: "inbound", TS: in.envelope.ReceivedAt.Unix(), Msg: m}})
	if err != nil {
		return nil, err
	}
	signature, err := mandrillSignature(g.Key, g.signed, b.open())
	if err != nil {
		return nil, err
	}
	header.Set("X-Mandrill-Signature", signature)
	in.note(header)
	return &content{header: header, size: -1, open: func() io.Reader {
		return io.MultiReader(strings.NewReader(mandrillField+"="), escaping(b.open(), escapeForm))
	}}, nil
}

// mandrillField is the one field of the form.
const mandrillField = "mandrill_events"

// mandrillSignature signs the URL and the form.
func mandrillSignature(key, url string, value io.Reader) (string, error) {
	mac := hmac.New(sha1.New, []byte(key))
	io.WriteString(mac, url+mandrillField)
	if _, err := io.Copy(mac, value); err != nil {
		return "", fmt.Errorf("sign the payload: %w", err)
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// files adds the attachments, by their names, which must differ: of two of the same name the second gets a number. Inline
// images go by their content id.
func (g mandrill) files(m *mandrillMail, in *incoming, j *document) {
	m.Attachments, m.Images = map[string]mandrillFile{}, map[string]mandrillFile{}
	for _, a := range in.files {
		name, into := a.Filename, m.Attachments
		if a.Disposition == "inline" && a.ContentID != "" && strings.HasPrefix(a.ContentType, "image/") {
			name, into = a.ContentID, m.Images
		}
		ext := path.Ext(name)
		for base, n := strings.TrimSuffix(name, ext), 2; ; n++ {
			if _, taken := into[name]; !taken {
				break
			}
			name = fmt.Sprintf("%s (%d)%s", base, n, ext)
		}
		into[name] = mandrillFile{Name: name, Type: mediaType(a.ContentType), Content: j.base64(a.Size, a.Open), Base64: true}
	}
}

// headerObject is the header as an object: a text, or a list where a field is there several times.
func headerObject(in *incoming) map[string]any {
	out := map[string]any{}
	spelled := map[string]string{} // by the name in lower case: as it was written first
	for _, h := range in.headers {
		if !fieldName(h.Name) {
			continue
		}
		folded := strings.ToLower(h.Name)
		name, ok := spelled[folded]
		if !ok {
			name = h.Name
			spelled[folded] = name
		}
		switch was := out[name].(type) {
		case nil:
			out[name] = h.Value
		case string:
			out[name] = []string{was, h.Value}
		case []string:
			out[name] = append(was, h.Value)
		}
	}
	return out
}

func mandrillAddresses(as []pipeline.Address) [][2]*string {
	out := [][2]*string{}
	for _, a := range as {
		out = append(out, [2]*string{&a.Address, orNull(a.Name)})
	}
	return out
}
