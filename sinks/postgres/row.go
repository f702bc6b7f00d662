package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"mxhook/pipeline"
)

// statements are those that write a delivery. Each does nothing when the delivery is there.
type statements struct{ message, recipients, headers, attachment string }

func newStatements(schema string) statements {
	in := func(table string) string { return pgx.Identifier{schema, table}.Sanitize() }
	return statements{
		message: "INSERT INTO " + in("messages") + ` (delivery_id, message_id, sink, rules, tags, replay_of, received_at, kind, mail_from,
			client_ip, sender_verified, sender_domain, header_message_id, date, from_address, subject, text, html, size, sha256, raw, payload)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
			ON CONFLICT (delivery_id) DO NOTHING`,
		recipients: "INSERT INTO " + in("recipients") + ` (delivery_id, position, address, local, tag, domain, captures)
			SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[]) ON CONFLICT DO NOTHING`,
		headers: "INSERT INTO " + in("headers") + ` (delivery_id, position, name, value)
			SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING`,
		attachment: "INSERT INTO " + in("attachments") + ` (delivery_id, position, part, filename, content_type, disposition, content_id, size, sha256, content)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
	}
}

// write sends all statements of a delivery at once, as one transaction, and reports whether the delivery was not there.
func (p *Postgres) write(ctx context.Context, pool *pgxpool.Pool, b *pgx.Batch) (fresh bool, err error) {
	err = pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing when it was committed
		results := tx.SendBatch(ctx, b)
		tag, err := results.Exec()
		fresh = err == nil && tag.RowsAffected() == 1
		if closing := results.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	return fresh, err
}

// row makes the statements of a delivery.
func (p *Postgres) row(d *pipeline.Delivery) (*pgx.Batch, error) {
	m := d.Message
	content := m.Content
	if content == nil {
		content = &pipeline.Content{}
	}
	if content.Kind == "" {
		kind := *content
		kind.Kind = pipeline.KindMail
		content = &kind
	}
	var payload bytes.Buffer
	if err := p.encode(&payload, d); err != nil {
		return nil, err
	}
	var raw []byte
	if p.octets.raw {
		raw = m.Raw
	}
	var ip *netip.Addr
	if env := m.Envelope.Client.IP.Unmap().WithZone(""); env.IsValid() {
		ip = &env
	}
	var sender pipeline.SenderResult
	if m.Auth != nil && m.Auth.Sender.Verified {
		sender = m.Auth.Sender
	}
	from := ""
	if len(content.From) > 0 {
		from = content.From[0].Address
	}
	id := clean(d.ID)
	b := &pgx.Batch{}
	b.Queue(p.insert.message, id, clean(m.Envelope.ID), d.Sink, cleanAll(d.Rules), cleanAll(d.Tags), orNull(d.ReplayOf),
		m.Envelope.ReceivedAt, content.Kind, clean(m.Envelope.ReversePath), ip, sender.Verified, orNull(sender.Domain),
		orNull(content.MessageID), date(content.Date), orNull(from), orNull(content.Subject), orNull(content.Text), orNull(content.HTML),
		int64(len(m.Raw)), m.SHA256[:], raw, json.RawMessage(withoutNUL(payload.Bytes())))
	p.queueRecipients(b, id, d.Recipients)
	positions, names, values := []int32{}, []string{}, []string{}
	for i, h := range content.Headers {
		positions, names, values = append(positions, int32(i+1)), append(names, clean(h.Name)), append(values, clean(h.Value))
	}
	b.Queue(p.insert.headers, id, positions, names, values)
	for i, a := range content.Attachments {
		var octets []byte
		if p.octets.attachments {
			var err error
			if octets, err = io.ReadAll(a.Open()); err != nil {
				return nil, fmt.Errorf("read attachment %s: %w", a.ID, err)
			}
		}
		b.Queue(p.insert.attachment, id, int32(i+1), clean(a.ID), clean(a.Filename), clean(a.ContentType), a.Disposition, clean(a.ContentID),
			a.Size, a.SHA256[:], octets)
	}
	return b, nil
}

func (p *Postgres) queueRecipients(b *pgx.Batch, id string, rs []pipeline.Recipient) {
	positions := []int32{}
	var columns [5][]string
	for i, r := range rs {
		captures := []byte("{}")
		if len(r.Captures) > 0 {
			captures, _ = json.Marshal(r.Captures) // a map of texts always can be
		}
		positions = append(positions, int32(i+1))
		for c, value := range []string{clean(r.Address), clean(r.Local), clean(r.Tag), clean(r.Domain), string(withoutNUL(captures))} {
			columns[c] = append(columns[c], value)
		}
	}
	b.Queue(p.insert.recipients, id, positions, columns[0], columns[1], columns[2], columns[3], columns[4])
}

// clean makes a text that PostgreSQL takes: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func cleanAll(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, s := range texts {
		out = append(out, clean(s))
	}
	return out
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	s = clean(s)
	return &s
}

// date is a date that timestamptz can hold and people can mean.
func date(t time.Time) *time.Time {
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return nil
	}
	return &t
}

// withoutNUL replaces the escape \u0000 in JSON, which jsonb does not take.
func withoutNUL(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u0000`)) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\' || i+1 == len(text):
			out = append(out, text[i])
		case bytes.HasPrefix(text[i:], []byte(`\u0000`)):
			out = append(out, `\ufffd`...)
			i += len(`\u0000`) - 1
		default: // an escape of two characters, and what may follow of a longer one is harmless
			out = append(out, text[i], text[i+1])
			i++
		}
	}
	return out
}
