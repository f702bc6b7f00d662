package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
)

// incoming is a delivery as the formats of other services look at it.
type incoming struct {
	*pipeline.Delivery
	envelope *pipeline.Envelope
	content  *pipeline.Content      // empty when the mail could not be parsed
	auth     *pipeline.AuthResults  // empty when nothing was checked
	headers  []pipeline.HeaderField // of our trace, and of the mail without what would pass for the service's verdict
	// files are the attachments that are sent along, omitted is how many are not.
	files   []pipeline.Attachment
	omitted int
}

// compat is what the formats of other services have in common.
type compat struct {
	Compat
	payload PayloadOptions
}

// read prepares a delivery.
func (c compat) read(d *pipeline.Delivery) *incoming {
	m := d.Message
	in := &incoming{Delivery: d, envelope: &m.Envelope, content: m.Content, auth: m.Auth}
	if in.content == nil {
		in.content = &pipeline.Content{}
	}
	if in.auth == nil {
		in.auth = &pipeline.AuthResults{}
	}
	for _, trace := range []string{m.Envelope.Received, in.auth.Field} {
		for f := range pipeline.Fields([]byte(trace)) {
			if len(f.Name) > 0 {
				in.headers = append(in.headers, pipeline.HeaderField{Name: string(f.Name), Value: unfold(f.Body)})
			}
		}
	}
	for _, h := range in.content.Headers {
		if serviceVerdict([]byte(h.Name)) {
			h.Name = pipeline.ForeignPrefix + h.Name
		}
		in.headers = append(in.headers, h)
	}
	for _, a := range in.content.Attachments {
		if c.payload.OmitAttachments != "" || c.payload.InlineLimit > 0 && a.Size > c.payload.InlineLimit {
			in.omitted++
			continue
		}
		in.files = append(in.files, a)
	}
	return in
}

// serviceVerdict reports whether the services whose formats are spoken add a field of that name themselves. One that came
// with the mail was written by the sender, and is passed on under another name.
func serviceVerdict(name []byte) bool {
	n := strings.ToLower(visibleName(name))
	switch n {
	case "return-path", "received-spf", "x-envelope-from", "x-original-to":
		return true
	}
	return strings.HasPrefix(n, "x-mailgun-") || strings.HasPrefix(n, "x-spam-")
}

// visibleName is the name of a field without what cannot be in one (RFC 5322 2.2): readers stop there, or read over it.
func visibleName(name []byte) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, string(name))
}

// recipient is the one recipient of the delivery; the first, where the format wants one and there are several.
func (in *incoming) recipient() pipeline.Recipient {
	if len(in.Recipients) == 0 {
		return pipeline.Recipient{}
	}
	return in.Recipients[0]
}

func (in *incoming) recipients() []string {
	out := make([]string, 0, len(in.Recipients))
	for _, r := range in.Recipients {
		out = append(out, r.Address)
	}
	return out
}

// header is the value of the first field of that name.
func (in *incoming) header(name string) string { return in.content.Header(name) }

func (in *incoming) ip() string {
	if !in.envelope.Client.IP.IsValid() {
		return ""
	}
	return in.envelope.Client.IP.Unmap().String()
}

// ownText is the text that the mail has itself; "" where it was made of HTML.
func (in *incoming) ownText() string {
	if in.content.TextFrom == pipeline.TextOfHTML {
		return ""
	}
	return in.content.Text
}

// reply is the text without quotes and signature, and the signature.
func (in *incoming) reply() (text, signature string, ok bool) {
	r := in.content.Reply()
	if r == nil {
		return "", "", false
	}
	return r.Text, r.Signature, true
}

// dkim sums the signatures up: whether there is one, and whether one is good.
func (in *incoming) dkim() (signed, valid bool) {
	for _, k := range in.auth.DKIM {
		if k.Result == pipeline.ResultNone {
			continue
		}
		signed = true
		valid = valid || k.Result == pipeline.ResultPass
	}
	return signed, valid
}

// mail is the mail as it goes out raw: our trace block, and the service's own fields above it.
func (in *incoming) mail(above ...pipeline.HeaderField) io.Reader {
	var b strings.Builder
	for _, h := range above {
		b.WriteString(h.Name + ": " + oneLine(h.Value) + "\r\n")
	}
	return io.MultiReader(strings.NewReader(b.String()), in.Message.MailRenaming(serviceVerdict))
}

// raw gives the mail as a text that is UTF-8 in 7 or 8 bits: as it is, or, where it is not UTF-8 or RawEncoding asks for
// it, in 7 bits. The header of the request says so then, for whoever verifies DKIM again.
func (c compat) raw(in *incoming, into http.Header, above ...pipeline.HeaderField) func() io.Reader {
	if c.RawEncoding != RawSevenBit && utf8.Valid(in.Message.Raw) {
		return func() io.Reader { return in.mail(above...) }
	}
	return c.sevenBit(in, into, above...)
}

// bytes gives the mail as it is, unless RawEncoding asks for 7 bits.
func (c compat) bytes(in *incoming, into http.Header, above ...pipeline.HeaderField) func() io.Reader {
	if c.RawEncoding != RawSevenBit {
		return func() io.Reader { return in.mail(above...) }
	}
	return c.sevenBit(in, into, above...)
}

func (c compat) sevenBit(in *incoming, into http.Header, above ...pipeline.HeaderField) func() io.Reader {
	mail, _ := io.ReadAll(in.mail(above...)) // memory does not fail
	mail = sevenBit(mail)
	into.Set("X-Mxhook-Raw-Encoding", "7bit")
	return func() io.Reader { return bytes.NewReader(mail) }
}

// note puts what the format has no place for into header fields of the request.
func (in *incoming) note(h http.Header) {
	set := func(name, value string) {
		if value != "" {
			h.Set("X-Mxhook-"+name, strings.Map(printable, value))
		}
	}
	set("Message", in.envelope.ID)
	set("Attempt", fmt.Sprint(in.Attempt))
	set("Replay-Of", in.ReplayOf)
	set("Spf", result(in.auth.SPF.Result))
	set("Dmarc", result(in.auth.DMARC.Result))
	set("Arc", result(in.auth.ARC.Result))
	if in.auth.Sender.Verified {
		set("Verified-Sender", in.auth.Sender.Domain)
	}
	if in.omitted > 0 {
		set("Omitted-Attachments", fmt.Sprint(in.omitted))
	}
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

// unfold makes one line of a field's body.
func unfold(body []byte) string {
	return strings.TrimSpace(oneLine(strings.ToValidUTF8(string(body), "\uFFFD")))
}

// oneLine takes the line ends out: folds keep the blank behind them (RFC 5322 2.2.3).
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return -1
		}
		return r
	}, s)
}

// uuid makes a UUID (RFC 9562 5.8) out of an id: the same at each attempt.
func uuid(id string) string {
	u := sha256.Sum256([]byte(id))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	h := hex.EncodeToString(u[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// capital writes a result as "Pass", "Softfail".
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// unixTime is a time in seconds as text.
func unixTime(t time.Time) string { return fmt.Sprint(t.Unix()) }

// listed reports whether an address is among those of a list, in any case.
func listed(as []pipeline.Address, address string) bool {
	return slices.ContainsFunc(as, func(a pipeline.Address) bool { return strings.EqualFold(a.Address, address) })
}
