package queue

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
)

// The records below are what the heads of frames look like. They are not the pipeline's structs, so that those may
// change without breaking what lies in a queue; testdata/*.frame pins them.

// mailRecord is the head of a message. Its octets follow the head, or lie in Parts of the same stream.
type mailRecord struct {
	Envelope envelopeRecord `json:"envelope"`
	Size     int64          `json:"size"`
	SHA256   []byte         `json:"sha256"`
	// PartKey and Parts are set for a message in parts: the key in their subject, and their sequences in order.
	PartKey string   `json:"part_key,omitempty"`
	Parts   []uint64 `json:"parts,omitempty"`
	// Auth and Problems are what was found before the message was taken; absent when nobody has looked yet.
	Auth     *pipeline.AuthResults `json:"auth,omitempty"`
	Problems []pipeline.Problem    `json:"problems,omitempty"`
	// Wait is absent when the sender was not kept waiting.
	Wait *waitRecord `json:"wait,omitempty"`
}

// deliveryRecord is a delivery that waits.
type deliveryRecord struct {
	ID         string                   `json:"id"`
	Sink       string                   `json:"sink"`
	Rules      []string                 `json:"rules,omitempty"`
	Tags       []string                 `json:"tags,omitempty"`
	Recipients []recipientRecord        `json:"recipients,omitempty"`
	Attempt    int                      `json:"attempt"`
	First      time.Time                `json:"first"`
	History    []pipeline.AttemptRecord `json:"history,omitempty"`
	Held       string                   `json:"held,omitempty"`
	ReplayOf   string                   `json:"replay_of,omitempty"`
	Ref        string                   `json:"ref"`
	// Size is that of the message, in octets; 0 is unknown.
	Size     int64                 `json:"size,omitempty"`
	Auth     *pipeline.AuthResults `json:"auth,omitempty"`
	Problems []pipeline.Problem    `json:"problems,omitempty"`
}

// deadRecordHead is a dead letter. Its message lies in Parts messages of the same stream, found by their subjects.
type deadRecordHead struct {
	Delivery deliveryRecord `json:"delivery"`
	Envelope envelopeRecord `json:"envelope"`
	Reason   string         `json:"reason"`
	At       time.Time      `json:"at"`
	Size     int64          `json:"size"`
	SHA256   []byte         `json:"sha256"`
	// Parts is 0 when the message could not be kept; Reason says why.
	Parts int `json:"parts"`
}

// logRecord is a batch of deliveries that succeeded.
type logRecord struct {
	Deliveries []deliveredRecord `json:"deliveries"`
}

// deliveredRecord has what a list shows of a delivery and what its replay needs.
type deliveredRecord struct {
	Delivery    deliveryRecord `json:"delivery"`
	ReversePath octets         `json:"reverse_path"`
	Size        int64          `json:"size"`
	ReceivedAt  time.Time      `json:"received_at"`
	At          time.Time      `json:"at"`
	Took        time.Duration  `json:"took"`
	Status      string         `json:"status"`
	// State is absent for a success; Reason is why it was refused.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type envelopeRecord struct {
	ID          string            `json:"id"`
	ReversePath octets            `json:"reverse_path"`
	Recipients  []recipientRecord `json:"recipients"`
	Client      clientRecord      `json:"client"`
	Listener    string            `json:"listener,omitempty"`
	Hostname    string            `json:"hostname,omitempty"`
	ReceivedAt  time.Time         `json:"received_at"`
	Size        int64             `json:"size"`
	BodyType    string            `json:"body_type,omitempty"`
	SMTPUTF8    bool              `json:"smtputf8,omitempty"`
	Ret         string            `json:"ret,omitempty"`
	EnvID       string            `json:"envid,omitempty"`
	RequireTLS  bool              `json:"requiretls,omitempty"`
	Received    octets            `json:"received,omitempty"`
	ReplayOf    string            `json:"replay_of,omitempty"`
	ReplayTo    string            `json:"replay_to,omitempty"`
}

type recipientRecord struct {
	Address  octets            `json:"address"`
	Local    octets            `json:"local"`
	Tag      octets            `json:"tag,omitempty"`
	Domain   string            `json:"domain"`
	Captures map[string]octets `json:"captures,omitempty"`
	Notify   string            `json:"notify,omitempty"`
	Original octets            `json:"original_recipient,omitempty"`
}

type clientRecord struct {
	IP      netip.Addr `json:"ip"`
	Port    uint16     `json:"port"`
	Helo    octets     `json:"helo"`
	Version string     `json:"tls_version,omitempty"`
	Cipher  string     `json:"tls_cipher,omitempty"`
	TLS     bool       `json:"tls,omitempty"`
}

// octets is a string from the wire, which need not be UTF-8: then it is {"base64": "..."} in JSON.
type octets string

type base64Octets struct {
	Base64 []byte `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (o octets) MarshalJSON() ([]byte, error) {
	if plain(o) { // nearly all are
		b := append(make([]byte, 0, len(o)+2), '"')
		return append(append(b, o...), '"'), nil
	}
	if utf8.ValidString(string(o)) {
		return json.Marshal(string(o))
	}
	return json.Marshal(base64Octets{[]byte(o)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(b []byte) error {
	if n := len(b); n > 1 && b[0] == '"' && plain(b[1:n-1]) {
		*o = octets(b[1 : n-1])
		return nil
	}
	if len(b) > 0 && b[0] == '{' {
		var v base64Octets
		err := json.Unmarshal(b, &v)
		*o = octets(v.Base64)
		return err
	}
	var s string
	err := json.Unmarshal(b, &s)
	*o = octets(s)
	return err
}

// plain reports whether a text stands in JSON as it is: ASCII without what is escaped there.
func plain[T octets | []byte](s T) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

func recordEnvelope(e pipeline.Envelope) envelopeRecord {
	r := envelopeRecord{
		ID: e.ID, ReversePath: octets(e.ReversePath), Recipients: recordRecipients(e.Recipients),
		Client:   clientRecord{IP: e.Client.IP, Port: e.Client.Port, Helo: octets(e.Client.Helo)},
		Listener: e.Listener, Hostname: e.Hostname, ReceivedAt: e.ReceivedAt, Size: e.Size,
		BodyType: e.BodyType, SMTPUTF8: e.SMTPUTF8, Received: octets(e.Received),
		Ret: e.Ret, EnvID: e.EnvID, RequireTLS: e.RequireTLS, ReplayOf: e.ReplayOf, ReplayTo: e.ReplayTo,
	}
	if t := e.Client.TLS; t != nil {
		r.Client.TLS, r.Client.Version, r.Client.Cipher = true, t.Version, t.Cipher
	}
	return r
}

func (r envelopeRecord) envelope() pipeline.Envelope {
	e := pipeline.Envelope{
		ID: r.ID, ReversePath: string(r.ReversePath), Recipients: recipients(r.Recipients),
		Client:   pipeline.Client{IP: r.Client.IP, Port: r.Client.Port, Helo: string(r.Client.Helo)},
		Listener: r.Listener, Hostname: r.Hostname, ReceivedAt: r.ReceivedAt.UTC(), Size: r.Size,
		BodyType: r.BodyType, SMTPUTF8: r.SMTPUTF8, Received: string(r.Received),
		Ret: r.Ret, EnvID: r.EnvID, RequireTLS: r.RequireTLS, ReplayOf: r.ReplayOf, ReplayTo: r.ReplayTo,
	}
	if r.Client.TLS {
		e.Client.TLS = &pipeline.TLS{Version: r.Client.Version, Cipher: r.Client.Cipher}
	}
	return e
}

func recordRecipients(rs []pipeline.Recipient) []recipientRecord {
	out := make([]recipientRecord, len(rs))
	for i, r := range rs {
		out[i] = recipientRecord{
			Address: octets(r.Address), Local: octets(r.Local), Tag: octets(r.Tag), Domain: r.Domain,
			Notify: r.Notify, Original: octets(r.OriginalRecipient),
		}
		if len(r.Captures) > 0 {
			out[i].Captures = make(map[string]octets, len(r.Captures))
			for k, v := range r.Captures {
				out[i].Captures[k] = octets(v)
			}
		}
	}
	return out
}

func recipients(rs []recipientRecord) []pipeline.Recipient {
	var out []pipeline.Recipient
	for _, r := range rs {
		p := pipeline.Recipient{
			Address: string(r.Address), Local: string(r.Local), Tag: string(r.Tag), Domain: r.Domain,
			Notify: r.Notify, OriginalRecipient: string(r.Original),
		}
		if len(r.Captures) > 0 {
			p.Captures = make(map[string]string, len(r.Captures))
			for k, v := range r.Captures {
				p.Captures[k] = string(v)
			}
		}
		out = append(out, p)
	}
	return out
}

func recordDelivery(d *pipeline.Delivery) deliveryRecord {
	r := deliveryRecord{
		ID: d.ID, Sink: d.Sink, Rules: d.Rules, Tags: d.Tags, Recipients: recordRecipients(d.Recipients),
		Attempt: d.Attempt, First: d.First, History: d.History[max(0, len(d.History)-pipeline.MaxHistory):], Held: d.Held, ReplayOf: d.ReplayOf,
	}
	if m := d.Message; m != nil {
		r.Ref, r.Size, r.Auth, r.Problems = m.Ref, m.Envelope.Size, m.Auth, m.Problems
	}
	return r
}

// delivery restores what was recorded; its Message has no octets yet, and of its envelope the size.
func (r deliveryRecord) delivery() *pipeline.Delivery {
	return &pipeline.Delivery{
		ID: r.ID, Sink: r.Sink, Rules: r.Rules, Tags: r.Tags, Recipients: recipients(r.Recipients),
		Message: &pipeline.Message{Ref: r.Ref, Envelope: pipeline.Envelope{Size: r.Size}, Auth: r.Auth, Problems: r.Problems},
		Attempt: r.Attempt, First: r.First, History: r.History, Held: r.Held, ReplayOf: r.ReplayOf,
	}
}

func recordDelivered(k *pipeline.KeptDelivery) deliveredRecord {
	r := deliveredRecord{Delivery: recordDelivery(k.Delivery), At: k.At, Took: k.Took, Status: k.Status, Reason: k.Reason}
	if k.State != pipeline.StateDelivered {
		r.State = k.State
	}
	if m := k.Delivery.Message; m != nil {
		r.ReversePath, r.Size, r.ReceivedAt = octets(m.Envelope.ReversePath), m.Envelope.Size, m.Envelope.ReceivedAt
	}
	return r
}

func (r deliveredRecord) kept() *pipeline.KeptDelivery {
	d := r.Delivery.delivery()
	id, _, _ := strings.Cut(d.ID, ".")
	d.Message.Envelope = pipeline.Envelope{ID: id, ReversePath: string(r.ReversePath), Size: r.Size, ReceivedAt: r.ReceivedAt.UTC()}
	return &pipeline.KeptDelivery{
		Delivery: d, State: cmp.Or(r.State, pipeline.StateDelivered), At: r.At.UTC(), Took: r.Took, Status: r.Status, Reason: r.Reason,
	}
}

func sum32(b []byte) (sum [32]byte, err error) {
	if len(b) != len(sum) {
		return sum, fmt.Errorf("decode record: a SHA-256 of %d bytes", len(b))
	}
	copy(sum[:], b)
	return sum, nil
}
