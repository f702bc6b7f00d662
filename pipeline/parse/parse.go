// Package parse is the stage that reads the octets of a message: structure, header, texts, attachments, kind.
//
// Input is whatever the Internet sends. Every input gets a Content: what is broken is repaired, what cannot be
// repaired is read as plain text, and what was done is said in the message's problems. All work is linear in the
// size of the message, and nothing that is decoded stays in memory but the header and the texts.
package parse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"mxhook/pipeline"
)

// Limits bound what is read of one message. What lies beyond a limit is left out and named in a problem; the message
// itself is never refused for it. A zero field means its default.
type Limits struct {
	// Depth is how deeply multiparts may nest (20). A multipart below that is kept as an attachment, undivided.
	Depth int
	// Parts is how many parts, multiparts included, are read (1000).
	Parts int
	// HeaderBytes is how much of one header block is read (256 KiB).
	HeaderBytes int
	// Fields is how many fields of one header block are read (2000).
	Fields int
	// FieldBytes is how much of one Content-Type or Content-Disposition field is read (8 KiB).
	FieldBytes int
	// Params is how many parameters of such a field are read (64).
	Params int
	// DecodedBytes is how many decoded octets all attachments of a message may have together (512 MiB).
	DecodedBytes int64
	// TextBytes is how much of one text part is read, before and after decoding (10 MiB).
	TextBytes int
	// HTMLBytes is how much HTML is turned into text when a message has no text of its own (1 MiB).
	HTMLBytes int
	// Problems is how many problems the stage notes of one message (100).
	Problems int
}

// withDefaults returns l with every zero field replaced by its default.
func (l Limits) withDefaults() Limits {
	or := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&l.Depth, 20)
	or(&l.Parts, 1000)
	or(&l.HeaderBytes, 256<<10)
	or(&l.Fields, 2000)
	or(&l.FieldBytes, 8<<10)
	or(&l.Params, 64)
	or(&l.TextBytes, 10<<20)
	or(&l.HTMLBytes, 1<<20)
	or(&l.Problems, 100)
	if l.DecodedBytes == 0 {
		l.DecodedBytes = 512 << 20
	}
	return l
}

// Options are what a Stage is made of.
type Options struct {
	Limits Limits
	// Log gets one line for each message that only the last resorts could read. Never nil.
	Log *slog.Logger
	// Metrics may be nil: then nothing is counted.
	Metrics prometheus.Registerer
}

// Stage reads messages. It is safe for concurrent use on different messages.
type Stage struct {
	limits  Limits
	log     *slog.Logger
	metrics *metrics
	// rungs are the ways to read a message, the best first; the next is taken when one panics.
	rungs []rung
}

// rung is one way to make a Content of a message.
type rung struct {
	name string
	read func(*reading) *pipeline.Content
}

// New returns a Stage. It fails only when its metrics cannot be registered.
func New(o Options) (*Stage, error) {
	if o.Log == nil {
		return nil, errors.New("parse stage: no log")
	}
	ms, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register parse metrics: %w", err)
	}
	return &Stage{
		limits:  o.Limits.withDefaults(),
		log:     o.Log,
		metrics: ms,
		rungs:   []rung{{"structure", (*reading).message}, {"plain", (*reading).plain}},
	}, nil
}

// Run implements pipeline.Stage: it sets m.Content and appends to m.Problems. The only error is that of ctx.
// Attachments keep reading from m.Raw, which must not change any more.
func (s *Stage) Run(ctx context.Context, m *pipeline.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.Content = nil
	before := len(m.Problems)
	for _, r := range s.rungs {
		rd := &reading{limits: s.limits, envelope: &m.Envelope, raw: m.Raw, log: s.log}
		c, err := rd.try(r)
		if err != nil {
			s.log.ErrorContext(ctx, "parse: cannot read", "message", m.Envelope.ID, "rung", r.name, "error", err)
			m.Problems = append(m.Problems, pipeline.Problem{Code: "parse-failed", Detail: err.Error()})
			continue
		}
		m.Content = c
		c.Headers = m.OwnHeaders(c.Headers)
		m.Problems = append(m.Problems, rd.notes.list...)
		break
	}
	s.metrics.count(m, m.Problems[before:])
	return nil
}

// reading is the work on one message.
type reading struct {
	limits   Limits
	envelope *pipeline.Envelope
	raw      []byte
	notes    notes
	log      *slog.Logger
	// charset is the one that the first text part declares, when it says more than ASCII and UTF-8 do.
	charset string
	// usual counts the octets that enmime read; see enmimeBytes.
	usual int
	// decoded counts the octets of the attachments so far.
	decoded int64
	// unpacked counts the files that came out of containers.
	unpacked int
	// summed counts the attached messages that were described.
	summed int
	// notice is the notification of a service that the text is, nil for none.
	notice *sesNotice
	// inner counts the octets of the headers of messages within the message.
	inner int
}

// try makes an error of a panic in a rung: a message that trips a mistake of ours is delivered all the same.
func (rd *reading) try(r rung) (c *pipeline.Content, err error) {
	rd.notes.max = rd.limits.Problems
	defer func() {
		if p := recover(); p != nil {
			c, err = nil, fmt.Errorf("read message by %s: panic: %s", r.name, validUTF8(fmt.Sprint(p)))
		}
	}()
	return r.read(rd), nil
}

// message is the usual way: the structure with all that is in it.
func (rd *reading) message() *pipeline.Content {
	parts := rd.scan()
	rd.charset = textCharset(parts)
	c := &pipeline.Content{}
	rd.header(c, parts[0].fields)
	rd.content(c, parts)
	c.Kind = rd.kindOf(c, parts)
	rd.report(c, parts)
	c.TakeApart = rd.takeApart(c.Text)
	return c
}

// plain is the way out: the header fields as they stand and the whole rest as one text.
func (rd *reading) plain() *pipeline.Content {
	c := &pipeline.Content{Kind: pipeline.KindMail}
	for f := range pipeline.Fields(rd.raw[:min(len(rd.raw), rd.limits.HeaderBytes)]) {
		if len(f.Name) > 0 && len(c.Headers) < rd.limits.Fields {
			c.Headers = append(c.Headers, pipeline.HeaderField{Name: validUTF8(string(f.Name)), Value: validUTF8(string(unfold(f.Body)))})
		}
	}
	c.Subject, c.MessageID = c.Header("Subject"), c.Header("Message-ID")
	body := rd.raw[pipeline.HeaderEnd(rd.raw):]
	if len(c.Headers) == 0 {
		body = rd.raw
	}
	if c.Text = validUTF8(string(body[:min(len(body), rd.limits.TextBytes)])); c.Text != "" {
		c.TextFrom = pipeline.TextOwn
	}
	return c
}
