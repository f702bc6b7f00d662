package webhook

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

// rawMail is the format whose body is the mail as received. What is known of it besides is in header fields mxhook-*.
type rawMail struct{}

const (
	// maxRawRecipients bounds mxhook-recipients: common servers take 8 KiB for a line of the header.
	maxRawRecipients = 7 << 10
	// maxRawList bounds every other list, maxRawValue one value in it.
	maxRawList  = 1 << 10
	maxRawValue = 256
)

// compose implements format.
func (rawMail) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	header := rawFields(d)
	if n := len(header.Get("Mxhook-Recipients")); n > maxRawRecipients {
		return nil, fmt.Errorf("the %d recipients take %d octets, and format raw has %d for them in the header: set compat: {requests: per_recipient}",
			len(d.Recipients), n, maxRawRecipients)
	}
	octets := d.Message.Raw
	return &content{header: header, open: func() io.Reader { return bytes.NewReader(octets) }, size: int64(len(octets))}, nil
}

// RawHeader returns the header fields of format raw, for sinks that send the mail otherwise: names in lower case and in
// order, without content-type.
func RawHeader(d *pipeline.Delivery) []pipeline.HeaderField {
	h := rawFields(d)
	fields := make([]pipeline.HeaderField, 0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name != "Content-Type" {
			fields = append(fields, pipeline.HeaderField{Name: strings.ToLower(name), Value: h.Get(name)})
		}
	}
	return fields
}

// rawFields makes the header fields. Every value is printable ASCII; commas, semicolons and equals signs in what a mail
// says are percent-encoded too, so that they only separate.
func rawFields(d *pipeline.Delivery) http.Header {
	h := http.Header{"Content-Type": {"message/rfc822"}}
	set := func(name, value string) {
		if value != "" {
			h.Set("Mxhook-"+name, value)
		}
	}
	recipients := make([]string, 0, len(d.Recipients))
	var captures []string
	for _, r := range d.Recipients {
		recipients = append(recipients, rawItem(r.Address))
		if len(r.Captures) > 0 {
			var pairs []string
			for _, name := range slices.Sorted(maps.Keys(r.Captures)) {
				pairs = append(pairs, name, r.Captures[name])
			}
			captures = append(captures, rawParams(r.Address, pairs...))
		}
	}
	m := d.Message
	env := m.Envelope
	kind := pipeline.KindMail
	if m.Content != nil && m.Content.Kind != "" {
		kind = m.Content.Kind
	}
	set("Version", strconv.Itoa(payloadVersion))
	set("Message", rawItem(env.ID))
	set("Sink", rawItem(d.Sink))
	set("Rules", rawList(eachItem(d.Rules)))
	set("Tags", rawList(eachItem(d.Tags)))
	set("Attempt", strconv.Itoa(d.Attempt))
	set("Replay-Of", rawItem(d.ReplayOf))
	set("Kind", kind)
	set("Received-At", timestamp(env.ReceivedAt))
	h.Set("Mxhook-Mail-From", pipeline.HeaderValue(env.ReversePath)) // empty: the null reverse-path
	set("Recipients", strings.Join(recipients, ", "))
	set("Captures", rawList(captures))
	set("Helo", rawItem(env.Client.Helo))
	set("Listener", rawItem(env.Listener))
	if env.Client.IP.IsValid() {
		set("Client-Ip", env.Client.IP.Unmap().WithZone("").String())
	}
	if t := env.Client.TLS; t != nil {
		set("Client-Tls", rawParams(t.Version, "cipher", t.Cipher))
	}
	set("Sha256", hex.EncodeToString(m.SHA256[:]))
	rawAuth(set, newPayloadAuth(m.Auth))
	problems := make([]string, 0, len(m.Problems))
	for _, p := range m.Problems {
		problems = append(problems, rawParams(p.Code, "where", p.Where))
	}
	set("Problems", rawList(problems))
	return h
}

func rawAuth(set func(name, value string), a payloadAuth) {
	if a.Sender.Verified {
		set("Verified-Sender", rawParams(deref(a.Sender.Domain), "by", deref(a.Sender.By)))
	}
	set("Spf", rawParams(a.SPF.Result, "domain", deref(a.SPF.Domain), "identity", deref(a.SPF.Identity)))
	var signatures []string
	for _, k := range a.DKIM {
		signatures = append(signatures, rawParams(k.Result, "domain", deref(k.Domain), "selector", deref(k.Selector), "aligned", strconv.FormatBool(k.Aligned)))
	}
	set("Dkim", rawList(signatures))
	set("Dmarc", rawParams(a.DMARC.Result, "domain", deref(a.DMARC.Domain), "policy", deref(a.DMARC.Policy)))
	set("Arc", rawParams(a.ARC.Result, "trusted", strconv.FormatBool(a.ARC.Trusted)))
	set("Iprev", rawParams(a.IPRev.Result, "name", deref(a.IPRev.Name)))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// rawItem makes one value of a list fit for the header.
func rawItem(value string) string {
	return strings.NewReplacer(",", "%2C", ";", "%3B", "=", "%3D").Replace(pipeline.HeaderValue(value))
}

// rawShort is rawItem for what may be cut: three dots say so.
func rawShort(value string) string {
	item := rawItem(value)
	if len(item) <= maxRawValue {
		return item
	}
	item = item[:maxRawValue]
	if i := strings.LastIndexByte(item, '%'); i > maxRawValue-3 {
		item = item[:i]
	}
	return item + "..."
}

// rawParams writes a value and what is known about it: "pass;domain=example.org". What is "" is left out.
func rawParams(value string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(rawShort(value))
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(";" + rawShort(pairs[i]) + "=" + rawShort(pairs[i+1]))
		}
	}
	return b.String()
}

func eachItem(values []string) []string {
	items := make([]string, 0, len(values))
	for _, v := range values {
		items = append(items, rawShort(v))
	}
	return items
}

// rawList joins values. Those that there is no room for are counted at the end: "more;count=3".
func rawList(items []string) string {
	var b strings.Builder
	for i, item := range items {
		if b.Len()+len(item) > maxRawList {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "more;count=%d", len(items)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(item)
	}
	return b.String()
}
