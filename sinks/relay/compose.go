package relay

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"mxhook/pipeline"
)

// mail is one delivery as it goes over the wire.
type mail struct {
	envelope *pipeline.Envelope
	from     string // the reverse-path, rewritten
	octets   []byte // CRLF line ends only
	eightBit bool
	utf8     bool // the header or an address needs SMTPUTF8
	rcpts    []*rcpt
	unsealed error // why there is no seal although there should be one
}

// rcpt is a forward-path, the recipients that it stands for, and what became of it; errPending until then.
type rcpt struct {
	path       string
	recipients []pipeline.Recipient
	err        error
}

var errPending = errors.New("not tried")

// compose makes the mail. Its errors are permanent: no server would take it.
func (r *Relay) compose(d *pipeline.Delivery) (*mail, error) {
	m := d.Message
	out := &mail{envelope: &m.Envelope, from: oneLine(m.Envelope.ReversePath)}
	if err := r.checkLoop(d); err != nil {
		return nil, err
	}
	if m.Envelope.BodyType == "BINARYMIME" && !clean(m.Raw) {
		return nil, pipeline.Permanent(errors.New("the mail is binary (BINARYMIME), which cannot be relayed without changing it"))
	}
	if r.o.SRS != nil {
		out.from = r.o.SRS.Forward(out.from)
	}
	out.rcpts = r.forwardPaths(d)

	octets := normalized(m.Onward())
	trace := "X-Mxhook-Delivery: " + d.ID + "\r\n"
	if len(d.Recipients) == 1 { // with more, each would learn of the others
		trace = "Delivered-To: " + oneLine(d.Recipients[0].Address) + "\r\n" + trace
	}
	var seal []byte
	if r.o.Seal != nil {
		if seal, out.unsealed = r.seal(trace, octets, m.Auth); out.unsealed != nil {
			seal = nil
		}
	}
	out.octets = bytes.Join([][]byte{seal, []byte(trace), octets}, nil)
	out.eightBit = has8Bit(out.octets)
	out.utf8 = needsUTF8(out)
	return out, nil
}

func (r *Relay) seal(trace string, octets []byte, auth *pipeline.AuthResults) ([]byte, error) {
	if auth == nil {
		return nil, errors.New("nothing is known of who sent it")
	}
	return r.o.Seal(append([]byte(trace), octets...), auth)
}

// checkLoop refuses a mail that has been here for the same recipient, or that has gone over too many servers.
func (r *Relay) checkLoop(d *pipeline.Delivery) error {
	hops := 0
	for f := range pipeline.Fields(d.Message.Raw) {
		switch {
		case f.Is("Received"):
			hops++
		case f.Is("Delivered-To"):
			before := strings.TrimSpace(string(f.Body))
			for _, rc := range d.Recipients {
				if strings.EqualFold(before, rc.Address) {
					return pipeline.Permanent(errors.New("mail loop: it was delivered to this recipient before (5.4.6)"))
				}
			}
		}
	}
	if hops > r.o.MaxHops {
		return pipeline.Permanent(fmt.Errorf("mail loop: it has gone over %d servers, at most %d are allowed (5.4.6)", hops, r.o.MaxHops))
	}
	return nil
}

// forwardPaths says where the mail goes: for SRS addresses back to what they stand for.
func (r *Relay) forwardPaths(d *pipeline.Delivery) []*rcpt {
	var rcpts []*rcpt
	byPath := map[string]*rcpt{}
	add := func(path string, recipients ...pipeline.Recipient) *rcpt {
		path = oneLine(path)
		rc := byPath[path]
		if rc == nil {
			rc = &rcpt{path: path, err: errPending}
			byPath[path] = rc
			rcpts = append(rcpts, rc)
		}
		rc.recipients = append(rc.recipients, recipients...)
		return rc
	}
	var forwarded []pipeline.Recipient
	for _, recipient := range d.Recipients {
		switch {
		case r.o.SRS != nil && r.o.SRS.Owns(recipient.Address):
			path, err := r.o.SRS.Reverse(recipient.Address)
			if err == nil {
				err = r.o.SRS.Check(recipient.Address, d.Message.Envelope.ReversePath)
			}
			if err != nil {
				add(recipient.Address, recipient).err = pipeline.Permanent(err)
				continue
			}
			add(path, recipient)
		case len(r.o.To) > 0:
			forwarded = append(forwarded, recipient)
		default:
			add(recipient.Address, recipient)
		}
	}
	if len(forwarded) > 0 {
		for _, to := range r.o.To {
			add(to, forwarded...)
		}
	}
	return rcpts
}

// clean reports whether all line ends are CRLF, and there is no NUL.
func clean(b []byte) bool {
	return bytes.Count(b, []byte("\r\n")) == bytes.Count(b, []byte("\n")) &&
		bytes.Count(b, []byte("\r\n")) == bytes.Count(b, []byte("\r")) && bytes.IndexByte(b, 0) < 0
}

// normalized returns b with every line end as CRLF. A CR or LF alone must not go out (RFC 5321 2.3.8): a server behind us
// may take one for the end of a line, and what follows for commands.
func normalized(b []byte) []byte {
	crlf := bytes.Count(b, []byte("\r\n"))
	bare := bytes.Count(b, []byte("\n")) + bytes.Count(b, []byte("\r")) - 2*crlf
	if bare == 0 {
		return b
	}
	out := make([]byte, 0, len(b)+bare)
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n':
			out = append(out, "\r\n"...)
			i++
		case b[i] == '\r' || b[i] == '\n':
			out = append(out, "\r\n"...)
		default:
			out = append(out, b[i])
		}
	}
	return out
}

func has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// needsUTF8 says whether the mail can go by SMTPUTF8 only (RFC 6531 3.4): one that came that way and that has an address
// or a header that is not ASCII.
func needsUTF8(m *mail) bool {
	if !isASCII(m.from) {
		return true
	}
	for _, rc := range m.rcpts {
		if !isASCII(rc.path) {
			return true
		}
	}
	return m.envelope.SMTPUTF8 && has8Bit(m.octets[:pipeline.HeaderEnd(m.octets)])
}
