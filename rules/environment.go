package rules

import (
	"net/netip"
	"path"
	"strings"
	"time"

	"mxhook/pipeline"
)

// environment is what a condition sees. Its shape is described in vocabulary.go, and a test holds the two together.
// Addresses, host names and everything else that has no case are in lower case, so that a comparison with == means
// what people expect.
type environment struct {
	Recipient   recipient                                         `expr:"recipient"`
	Envelope    envelope                                          `expr:"envelope"`
	Client      client                                            `expr:"client"`
	Auth        auth                                              `expr:"auth"`
	Sender      sender                                            `expr:"sender"`
	Subject     string                                            `expr:"subject"`
	From        []mailbox                                         `expr:"from"`
	To          []mailbox                                         `expr:"to"`
	Size        int                                               `expr:"size"`
	Attachments []attachment                                      `expr:"attachments"`
	Kind        string                                            `expr:"kind"`
	Now         time.Time                                         `expr:"now"`
	Header      func(string) string                               `expr:"header"`
	Headers     func(string) []string                             `expr:"headers"`
	InNetwork   func(ip string, networks ...string) (bool, error) `expr:"inNetwork"`
	Token       func(address, name string) string                 `expr:"token"`
	// Tick counts list elements; its name is one that no condition can spell.
	Tick func() bool `expr:"tick()"`
}

type recipient struct {
	Address  string            `expr:"address"`
	Local    string            `expr:"local"`
	Tag      string            `expr:"tag"`
	Domain   string            `expr:"domain"`
	Captures map[string]string `expr:"captures"`
}

type envelope struct {
	ID         string      `expr:"id"`
	MailFrom   string      `expr:"mail_from"`
	Recipients []recipient `expr:"recipients"`
	Helo       string      `expr:"helo"`
	Size       int         `expr:"size"`
	SMTPUTF8   bool        `expr:"smtputf8"`
	Listener   string      `expr:"listener"`
	ReceivedAt time.Time   `expr:"received_at"`
}

type client struct {
	IP         string `expr:"ip"`
	Port       int    `expr:"port"`
	Helo       string `expr:"helo"`
	TLS        bool   `expr:"tls"`
	TLSVersion string `expr:"tls_version"`
	TLSCipher  string `expr:"tls_cipher"`
}

type auth struct {
	SPF   spfResult    `expr:"spf"`
	DKIM  []dkimResult `expr:"dkim"`
	DMARC dmarcResult  `expr:"dmarc"`
	ARC   arcResult    `expr:"arc"`
	IPRev iprevResult  `expr:"iprev"`
}

type sender struct {
	Verified bool   `expr:"verified"`
	Domain   string `expr:"domain"`
	By       string `expr:"by"`
}

type spfResult struct {
	Result   string `expr:"result"`
	Domain   string `expr:"domain"`
	Identity string `expr:"identity"`
}

type dkimResult struct {
	Result    string `expr:"result"`
	Domain    string `expr:"domain"`
	Selector  string `expr:"selector"`
	Algorithm string `expr:"algorithm"`
	Aligned   bool   `expr:"aligned"`
}

type dmarcResult struct {
	Result      string `expr:"result"`
	Domain      string `expr:"domain"`
	Policy      string `expr:"policy"`
	SPFAligned  bool   `expr:"spf_aligned"`
	DKIMAligned bool   `expr:"dkim_aligned"`
}

type arcResult struct {
	Result  string   `expr:"result"`
	Sealers []string `expr:"sealers"`
	Trusted bool     `expr:"trusted"`
}

type iprevResult struct {
	Result string `expr:"result"`
	Name   string `expr:"name"`
}

type mailbox struct {
	Address string `expr:"address"`
	Local   string `expr:"local"`
	Domain  string `expr:"domain"`
	Name    string `expr:"name"`
}

type attachment struct {
	Filename    string `expr:"filename"`
	Extension   string `expr:"extension"`
	ContentType string `expr:"content_type"`
	Disposition string `expr:"disposition"`
	Size        int    `expr:"size"`
}

// fill sets everything that belongs to the message. Lists are built only when a condition of the table uses them.
func (e *environment) fill(m *pipeline.Message, uses map[string]bool) {
	env := &m.Envelope
	e.Envelope = envelope{
		ID: env.ID, MailFrom: strings.ToLower(env.ReversePath), Helo: strings.ToLower(env.Client.Helo), Size: int(env.Size),
		SMTPUTF8: env.SMTPUTF8, Listener: env.Listener, ReceivedAt: env.ReceivedAt.UTC(),
	}
	if uses["envelope.recipients"] {
		for i := range env.Recipients {
			e.Envelope.Recipients = append(e.Envelope.Recipients, viewRecipient(&env.Recipients[i]))
		}
	}
	e.Client = client{Port: int(env.Client.Port), Helo: e.Envelope.Helo}
	if uses["client.ip"] && env.Client.IP.IsValid() {
		e.Client.IP = env.Client.IP.Unmap().String()
	}
	if tls := env.Client.TLS; tls != nil {
		e.Client.TLS, e.Client.TLSVersion, e.Client.TLSCipher = true, tls.Version, tls.Cipher
	}
	e.Size, e.Now = e.Envelope.Size, e.Envelope.ReceivedAt
	e.fillAuth(m.Auth, uses)
	e.fillContent(m.Content, uses)
}

func (e *environment) fillAuth(a *pipeline.AuthResults, uses map[string]bool) {
	if a == nil {
		a = &pipeline.AuthResults{}
	}
	e.Sender = sender{Verified: a.Sender.Verified, Domain: strings.ToLower(a.Sender.Domain), By: a.Sender.By}
	e.Auth = auth{
		SPF:   spfResult{orNone(a.SPF.Result), strings.ToLower(a.SPF.Domain), a.SPF.Identity},
		DMARC: dmarcResult{orNone(a.DMARC.Result), strings.ToLower(a.DMARC.Domain), a.DMARC.Policy, a.DMARC.SPFAligned, a.DMARC.DKIMAligned},
		ARC:   arcResult{Result: orNone(a.ARC.Result), Trusted: a.ARC.Trusted},
		IPRev: iprevResult{orNone(a.IPRev.Result), strings.ToLower(a.IPRev.Name)},
	}
	if uses["auth.arc.sealers"] {
		for _, s := range a.ARC.Sealers {
			e.Auth.ARC.Sealers = append(e.Auth.ARC.Sealers, strings.ToLower(s))
		}
	}
	if uses["auth.dkim"] {
		for _, d := range a.DKIM {
			e.Auth.DKIM = append(e.Auth.DKIM, dkimResult{
				orNone(d.Result), strings.ToLower(d.Domain), strings.ToLower(d.Selector), strings.ToLower(d.Algorithm), d.Aligned,
			})
		}
	}
}

func (e *environment) fillContent(c *pipeline.Content, uses map[string]bool) {
	e.Kind = pipeline.KindMail
	if c == nil {
		return
	}
	if c.Kind != "" {
		e.Kind = c.Kind
	}
	e.Subject = c.Subject
	if uses["from"] {
		e.From = viewMailboxes(c.From)
	}
	if uses["to"] {
		e.To = viewMailboxes(c.To)
	}
	if uses["attachments"] {
		for i := range c.Attachments {
			a := &c.Attachments[i]
			e.Attachments = append(e.Attachments, attachment{
				Filename: a.Filename, Extension: strings.ToLower(strings.TrimPrefix(path.Ext(a.Filename), ".")),
				ContentType: strings.ToLower(a.ContentType), Disposition: strings.ToLower(a.Disposition), Size: int(a.Size),
			})
		}
	}
}

func viewRecipient(r *pipeline.Recipient) recipient {
	return recipient{
		Address: strings.ToLower(r.Address), Local: strings.ToLower(r.Local), Tag: strings.ToLower(r.Tag),
		Domain: strings.ToLower(r.Domain), Captures: r.Captures,
	}
}

func viewMailboxes(as []pipeline.Address) []mailbox {
	ms := make([]mailbox, len(as))
	for i, a := range as {
		m := mailbox{Address: strings.ToLower(a.Address), Name: a.Name}
		m.Local = m.Address
		// RFC 5321 4.1.2: a quoted local part may hold an @, the domain may not.
		if at := strings.LastIndexByte(m.Address, '@'); at >= 0 {
			m.Local, m.Domain = m.Address[:at], m.Address[at+1:]
		}
		ms[i] = m
	}
	return ms
}

func orNone(result string) string {
	if result == "" {
		return pipeline.ResultNone
	}
	return result
}

// inNetwork reports whether ip lies in one of the networks, "192.0.2.0/24" or a single address.
func inNetwork(ip string, networks ...string) (bool, error) {
	addr, err := netip.ParseAddr(ip)
	for _, network := range networks {
		prefix, mistake := parseNetwork(network)
		if mistake != nil {
			return false, mistake
		}
		if err == nil && prefix.Contains(addr.Unmap()) {
			return true, nil
		}
	}
	return false, nil // also without a client address: it is in no network
}

func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}
