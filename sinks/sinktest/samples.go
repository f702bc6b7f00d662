package sinktest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"mxhook/pipeline"
)

// Sample is a delivery as a worker would hand it to a sink.
type Sample struct {
	// Name fits into a file name.
	Name     string
	Delivery *pipeline.Delivery
}

// Samples returns one delivery for each shape of message that a sink must cope with; the same at every call. The
// messages are fresh: the caller may change them.
func Samples() []Sample {
	return []Sample{
		{"01-plain", plain()},
		{"02-attachments", attachments()},
		{"03-nothing-known", nothingKnown()},
		{"04-beyond-ascii", beyondASCII()},
		{"05-unparsed", unparsed()},
		{"06-replay-to-many", replayToMany()},
		{"07-hostile-strings", hostileStrings()},
	}
}

// Delivery returns a healthy delivery of the given message id to the sink "test".
func Delivery(messageID string) *pipeline.Delivery {
	d := plain()
	d.Message.Envelope.ID = messageID
	d.ID = pipeline.DeliveryID(messageID, d.Sink)
	return d
}

// Sized returns a delivery with a body text and one attachment of these many octets, for benchmarks and limits.
func Sized(text, attachment int) *pipeline.Delivery {
	d := plain()
	m := d.Message
	m.Content.Text = strings.Repeat("All work and no play makes Jack a dull boy.\r\n", text/45+1)[:text]
	setRaw(m, "Subject: sized\r\n\r\n"+m.Content.Text)
	if attachment > 0 {
		m.Content.Attachments = []pipeline.Attachment{
			Attachment("2", "big.bin", "application/octet-stream", bytes.Repeat([]byte("0123456789abcdef"), attachment/16+1)[:attachment]),
		}
	}
	return d
}

// Attachment returns an attachment with these octets.
func Attachment(id, filename, contentType string, octets []byte) pipeline.Attachment {
	return pipeline.Attachment{
		ID: id, Filename: filename, ContentType: contentType, Disposition: "attachment",
		Size: int64(len(octets)), SHA256: sha256.Sum256(octets),
		Open: func() io.Reader { return bytes.NewReader(octets) },
	}
}

const plainMail = "From: Alice <alice@example.org>\r\nTo: support+42@example.com\r\nSubject: Printer on fire\r\n" +
	"Date: Sat, 21 Nov 2026 20:17:01 +0100\r\nMessage-ID: <1@example.org>\r\n\r\nIt burns.\r\n"

func plain() *pipeline.Delivery {
	m := &pipeline.Message{
		Envelope: pipeline.Envelope{
			ID: "01KAK5ZV3QW8E6T4Y2N0PLAIN0", ReversePath: "alice@example.org",
			Recipients: []pipeline.Recipient{
				{Address: "support+42@example.com", Local: "support", Tag: "42", Domain: "example.com"},
				{Address: "boss@example.com", Local: "boss", Domain: "example.com"},
			},
			Client: pipeline.Client{
				IP: netip.MustParseAddr("192.0.2.1"), Port: 41234, Helo: "mail.example.org",
				TLS: &pipeline.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256"},
			},
			Listener: "mx", Hostname: "mx.example.com", ReceivedAt: time.Date(2026, 11, 21, 19, 17, 3, 123_456_789, time.UTC),
			BodyType: "8BITMIME",
			Received: "Received: from mail.example.org (192.0.2.1)\r\n\tby mx.example.com with ESMTPS;\r\n\tSat, 21 Nov 2026 19:17:03 +0000\r\n",
		},
		Content: &pipeline.Content{
			Kind: pipeline.KindMail, MessageID: "<1@example.org>",
			Date:    time.Date(2026, 11, 21, 20, 17, 1, 0, time.FixedZone("", 3600)),
			Subject: "Printer on fire",
			From:    []pipeline.Address{{Name: "Alice", Address: "alice@example.org"}},
			To:      []pipeline.Address{{Address: "support+42@example.com"}},
			Headers: []pipeline.HeaderField{
				{Name: "From", Value: "Alice <alice@example.org>"},
				{Name: "To", Value: "support+42@example.com"},
				{Name: "Subject", Value: "Printer on fire"},
				{Name: "Date", Value: "Sat, 21 Nov 2026 20:17:01 +0100"},
				{Name: "Message-ID", Value: "<1@example.org>"},
			},
			Text: "It burns.\r\n",
		},
		Auth: &pipeline.AuthResults{
			Sender: pipeline.SenderResult{Verified: true, Domain: "example.org", By: "dmarc"},
			SPF:    pipeline.SPFResult{Result: pipeline.ResultPass, Domain: "example.org", Identity: "mailfrom"},
			DKIM: []pipeline.DKIMResult{
				{Result: pipeline.ResultPass, Domain: "example.org", Selector: "s1", Algorithm: "rsa-sha256", Aligned: true},
				{Result: pipeline.ResultFail, Domain: "list.example.net", Selector: "k", Algorithm: "ed25519-sha256", Reason: "body hash differs"},
			},
			DMARC: pipeline.DMARCResult{
				Result: pipeline.ResultPass, Domain: "example.org", Policy: "reject", SPFAligned: true, DKIMAligned: true,
			},
			ARC:   pipeline.ARCResult{Result: pipeline.ResultNone},
			IPRev: pipeline.IPRevResult{Result: pipeline.ResultPass, Name: "mail.example.org"},
			Field: "Authentication-Results: mx.example.com; spf=pass smtp.mailfrom=example.org\r\n",
		},
	}
	setRaw(m, plainMail)
	return delivery(m)
}

// delivery makes the delivery of m's first recipient to the sink "test".
func delivery(m *pipeline.Message) *pipeline.Delivery {
	return &pipeline.Delivery{
		ID: pipeline.DeliveryID(m.Envelope.ID, "test"), Sink: "test", Rules: []string{"tickets"},
		Recipients: m.Envelope.Recipients[:1], Message: m, Attempt: 1, First: m.Envelope.ReceivedAt,
	}
}

func setRaw(m *pipeline.Message, raw string) {
	m.Raw, m.SHA256, m.Envelope.Size = []byte(raw), sha256.Sum256([]byte(raw)), int64(len(raw))
}

func attachments() *pipeline.Delivery {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0ATTACH")
	c := d.Message.Content
	c.HTML = `<p>It burns: <img src="cid:fire@example.org"> & how</p>`
	inline := Attachment("1.2.2", "fire.png", "image/png", []byte("\x89PNG\r\n\x1a\n\x00\x00\xff\xfe"))
	inline.Disposition, inline.ContentID = "inline", "fire@example.org"
	c.Attachments = []pipeline.Attachment{
		inline,
		Attachment("2", "a.pdf", "application/pdf", []byte("%PDF-1.7\n")),
		Attachment("3", "empty.txt", "text/plain", nil),
		// More than one chunk of any encoder, and no multiple of three.
		Attachment("4", "numbers.csv", "text/csv", []byte(strings.Repeat("1;2;3;4\n", 32)+"ends")),
	}
	return d
}

func nothingKnown() *pipeline.Delivery {
	m := &pipeline.Message{
		Envelope: pipeline.Envelope{
			ID: "01KAK5ZV3QW8E6T4Y2N0N0NE00", Recipients: []pipeline.Recipient{{Address: "a@example.com", Local: "a", Domain: "example.com"}},
			Listener: "mx", Hostname: "mx.example.com", ReceivedAt: time.Date(2026, 11, 21, 19, 17, 3, 0, time.UTC),
			Client: pipeline.Client{IP: netip.MustParseAddr("2001:db8::1"), Port: 1},
		},
		Content: &pipeline.Content{},
	}
	setRaw(m, "\r\n")
	d := delivery(m)
	d.Rules = nil
	return d
}

func beyondASCII() *pipeline.Delivery {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0UTF800")
	env, c := &d.Message.Envelope, d.Message.Content
	env.SMTPUTF8, env.ReversePath = true, "älice@exämple.org"
	c.Subject = "Grüße, 東京 – \U0001F525 \u2028 \u200f"
	c.From = []pipeline.Address{{Name: "Älice “A” Ünger", Address: "älice@exämple.org"}}
	c.Text = "Füße\r\n\tund \"Quotes\" \\ <b>&amp;</b>\r\n"
	c.Sender = &pipeline.Address{Name: "Büro", Address: "office@example.org"}
	c.Attachments = []pipeline.Attachment{Attachment("2", "Rechnung für März.pdf", "application/pdf", []byte("x"))}
	d.Message.Problems = []pipeline.Problem{{Code: "charset-replaced", Where: "1", Detail: "windows-1252 read as utf-8"}}
	setRaw(d.Message, "Subject: Gr\xfc\xdfe\r\n\r\nF\xfc\xdfe\r\n")
	return d
}

func unparsed() *pipeline.Delivery {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0BR0KEN")
	d.Message.Content, d.Message.Auth = nil, nil
	d.Message.Problems = []pipeline.Problem{{Code: "unreadable", Detail: "no header field at all"}}
	setRaw(d.Message, "\x00\xff\xfe\x80 no mail\r\n")
	return d
}

func replayToMany() *pipeline.Delivery {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0REPLAY")
	d.ReplayOf, d.Attempt, d.Rules = d.ID, 4, []string{"tickets", "everything-else"}
	d.ID += ".r01KAK600"
	d.Recipients = nil
	for i := range 3 {
		d.Recipients = append(d.Recipients, pipeline.Recipient{
			Address: fmt.Sprintf("ticket-%d@example.com", i), Local: fmt.Sprintf("ticket-%d", i), Domain: "example.com",
			Captures: map[string]string{"id": fmt.Sprint(i), "area": "häuser"},
		})
	}
	c := d.Message.Content
	c.InReplyTo, c.References = []string{"<0@example.com>"}, []string{"<0@example.com>", "<00@example.com>"}
	c.ReplyTo = []pipeline.Address{{Address: "noreply@example.org"}}
	c.Cc = []pipeline.Address{{Name: "Bob", Address: "bob@example.net"}}
	c.Bcc = []pipeline.Address{{Address: "hidden@example.net"}}
	return d
}

// hostileStrings has what no stage should let through, for sinks that write formats with rules of their own.
func hostileStrings() *pipeline.Delivery {
	d := Delivery("01KAK5ZV3QW8E6T4Y2N0H0STIL")
	c := d.Message.Content
	c.Subject = "not \xff UTF-8, \x00 and \x1b[31m"
	c.Text = `"\u0062ase64" \u0062ase64 "}]}` + "\r\n.\r\nFrom the start\r\n"
	c.Date = time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)
	c.Headers = append(c.Headers, pipeline.HeaderField{Name: "X-\xff", Value: "\xc3"})
	c.Attachments = []pipeline.Attachment{Attachment("2", "../../etc/passwd\r\n", "text/plain; x=\"\xff", []byte("x"))}
	d.Recipients = []pipeline.Recipient{{Address: "\"a\r\nX-Evil: 1\"@example.com", Local: "a\r\nX-Evil: 1", Domain: "example.com"}}
	return d
}
