package webhook

import (
	"context"
	"crypto/md5" //nolint:gosec // a field of the format, not a protection
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mxhook/pipeline"
)

// cloudMailin is CloudMailin's three formats: JSON, a form, and a form with the raw mail. One request carries all
// recipients; none of them has a signature.
type cloudMailin struct {
	compat
	form string
}

// cloudMailinActions: 4xx is final, 5xx is tried again.
func cloudMailinActions(status int) Action {
	switch status / 100 {
	case 2:
		return Success
	case 4:
		return DeadLetter
	}
	return Retry
}

type cloudMailinMail struct {
	Headers     map[string]any          `json:"headers"`
	Envelope    cloudMailinEnvelope     `json:"envelope"`
	Plain       *string                 `json:"plain"`
	HTML        *string                 `json:"html"`
	ReplyPlain  *string                 `json:"reply_plain"`
	Attachments []cloudMailinAttachment `json:"attachments"`
}

type cloudMailinEnvelope struct {
	To         string            `json:"to"`
	Recipients []string          `json:"recipients"`
	From       string            `json:"from"`
	HeloDomain string            `json:"helo_domain"`
	RemoteIP   string            `json:"remote_ip"`
	TLS        bool              `json:"tls"`
	TLSCipher  string            `json:"tls_cipher,omitempty"`
	MD5        string            `json:"md5"`
	SPF        cloudMailinSPF    `json:"spf"`
	DKIM       cloudMailinDKIM   `json:"dkim"`
	DMARC      *cloudMailinDMARC `json:"dmarc,omitempty"`
}

type cloudMailinSPF struct {
	Result string `json:"result"`
	Domain string `json:"domain"`
}

type cloudMailinDKIM struct {
	Success bool                   `json:"success"`
	Result  []cloudMailinSignature `json:"result"`
}

type cloudMailinSignature struct {
	Result   string `json:"result"`
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
}

type cloudMailinDMARC struct {
	Success bool   `json:"success"`
	Result  string `json:"result"`
	Details struct {
		Domain          string                 `json:"domain"`
		Policy          string                 `json:"policy"`
		SPFResult       string                 `json:"spf_result"`
		DMARCSPFResult  string                 `json:"dmarc_spf_result"`
		DMARCDKIMResult string                 `json:"dmarc_dkim_result"`
		DKIMResults     []cloudMailinSignature `json:"dkim_results"`
	} `json:"details"`
}

// cloudMailinAttachment has its size as a text: receivers written in Go fail on a number.
type cloudMailinAttachment struct {
	Content     *octets `json:"content"`
	FileName    string  `json:"file_name"`
	ContentType string  `json:"content_type"`
	Size        string  `json:"size"`
	Disposition string  `json:"disposition"`
	ContentID   *string `json:"content_id"`
}

// compose implements format.
func (g cloudMailin) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	in := g.read(d)
	if g.form == FormatCloudMailin {
		return g.json(in)
	}
	f := &form{}
	notes := http.Header{}
	if g.form == FormatCloudMailinRaw {
		f.addLarge("message", g.bytes(in, notes))
		newCloudMailinEnvelope(in).addTo(f)
	} else {
		g.fields(f, in)
	}
	c := f.multipart()
	for name, values := range notes {
		c.header[name] = values
	}
	in.note(c.header)
	return c, nil
}

func (g cloudMailin) json(in *incoming) (*content, error) {
	j := &document{}
	m := cloudMailinMail{
		Headers: map[string]any{}, Envelope: newCloudMailinEnvelope(in), Plain: orNull(in.ownText()), HTML: orNull(in.content.HTML),
		Attachments: []cloudMailinAttachment{},
	}
	if text, _, ok := in.reply(); ok && in.ownText() != "" {
		m.ReplyPlain = &text
	}
	for _, h := range cloudMailinHeaders(in) {
		if len(h.values) == 1 && h.name != "received" {
			m.Headers[h.name] = h.values[0]
		} else {
			m.Headers[h.name] = h.values
		}
	}
	for _, a := range in.files {
		c := cloudMailinAttachment{
			FileName: a.Filename, ContentType: mediaType(a.ContentType), Size: fmt.Sprint(a.Size), Disposition: a.Disposition,
			Content: j.base64(a.Size, a.Open),
		}
		if a.ContentID != "" {
			c.ContentID = orNull("<" + a.ContentID + ">")
		}
		m.Attachments = append(m.Attachments, c)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	in.note(header)
	return j.content(m, header)
}

// fields is the mail as a form.
func (g cloudMailin) fields(f *form, in *incoming) {
	for _, h := range cloudMailinHeaders(in) {
		if len(h.values) == 1 && h.name != "received" {
			f.add("headers["+h.name+"]", h.values[0])
			continue
		}
		for i, v := range h.values {
			f.add(fmt.Sprintf("headers[%s][%d]", h.name, i), v)
		}
	}
	newCloudMailinEnvelope(in).addTo(f)
	if text := in.ownText(); text != "" {
		f.add("plain", text)
		if reply, _, ok := in.reply(); ok {
			f.add("reply_plain", reply)
		}
	}
	if in.content.HTML != "" {
		f.add("html", in.content.HTML)
	}
	for _, a := range in.files {
		f.addFile("attachments[]", a)
	}
}

// cloudMailinHeader is all fields of one name, the one on top first.
type cloudMailinHeader struct {
	name   string
	values []string
}

// cloudMailinHeaders are the header fields under their names in lower case with underscores, in the order of the first of
// each.
func cloudMailinHeaders(in *incoming) []cloudMailinHeader {
	var out []cloudMailinHeader
	at := map[string]int{}
	for _, h := range in.headers {
		if !fieldName(h.Name) {
			continue
		}
		name := strings.ReplaceAll(strings.ToLower(h.Name), "-", "_")
		i, ok := at[name]
		if !ok {
			if len(out) == maxHeaderFields {
				continue
			}
			i = len(out)
			at[name] = i
			out = append(out, cloudMailinHeader{name: name})
		}
		out[i].values = append(out[i].values, h.Value)
	}
	return out
}

func newCloudMailinEnvelope(in *incoming) cloudMailinEnvelope {
	env := in.envelope
	sum := md5.Sum(in.Message.Raw) //nolint:gosec // see above
	e := cloudMailinEnvelope{
		To: in.recipient().Address, Recipients: in.recipients(), From: env.ReversePath, HeloDomain: env.Client.Helo, RemoteIP: in.ip(),
		MD5: hex.EncodeToString(sum[:]), SPF: cloudMailinSPF{result(in.auth.SPF.Result), in.auth.SPF.Domain},
		DKIM: cloudMailinDKIM{Result: []cloudMailinSignature{}},
	}
	if e.SPF.Domain == "" {
		e.SPF.Domain = env.Client.Helo
	}
	if env.Client.TLS != nil {
		e.TLS, e.TLSCipher = true, strings.Replace(env.Client.TLS.Version, "TLS ", "TLSv", 1)
	}
	for _, k := range in.auth.DKIM {
		e.DKIM.Result = append(e.DKIM.Result, cloudMailinSignature{k.Result, k.Domain, k.Selector})
	}
	if _, e.DKIM.Success = in.dkim(); len(e.DKIM.Result) == 0 {
		e.DKIM.Result = append(e.DKIM.Result, cloudMailinSignature{Result: pipeline.ResultNeutral})
	}
	if r := in.auth.DMARC; r.Result != "" {
		e.DMARC = &cloudMailinDMARC{Success: r.Result == pipeline.ResultPass, Result: r.Result}
		x := &e.DMARC.Details
		x.Domain, x.Policy, x.SPFResult, x.DKIMResults = r.Domain, r.Policy, result(in.auth.SPF.Result), e.DKIM.Result
		x.DMARCSPFResult, x.DMARCDKIMResult = alignment(r.SPFAligned), alignment(r.DKIMAligned)
	}
	return e
}

func alignment(aligned bool) string {
	if aligned {
		return pipeline.ResultPass
	}
	return pipeline.ResultFail
}

// addTo writes the envelope as form fields.
func (e cloudMailinEnvelope) addTo(f *form) {
	f.add("envelope[to]", e.To)
	for i, r := range e.Recipients {
		f.add(fmt.Sprintf("envelope[recipients][%d]", i), r)
	}
	f.add("envelope[from]", e.From)
	f.add("envelope[helo_domain]", e.HeloDomain)
	f.add("envelope[remote_ip]", e.RemoteIP)
	f.add("envelope[spf][result]", e.SPF.Result)
	f.add("envelope[spf][domain]", e.SPF.Domain)
	if e.TLS {
		f.add("envelope[tls]", "true")
		f.add("envelope[tls_cipher]", e.TLSCipher)
	}
	f.add("envelope[md5]", e.MD5)
}
