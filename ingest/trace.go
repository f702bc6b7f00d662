package ingest

import (
	"strings"
	"time"

	"mxhook/pipeline"
)

// traceField makes our Received field (RFC 5321 4.4), folded and ending in CRLF. The recipient is named only when
// there is exactly one: with more, each would learn of the others. protocol is "SMTP", "ESMTP" or "LMTP".
func traceField(env *pipeline.Envelope, protocol string) string {
	var b strings.Builder
	b.WriteString("Received: from " + traceHelo(env.Client.Helo))
	if env.Client.IP.IsValid() {
		b.WriteString(" (" + addressLiteral(env.Client.IP.Unmap().WithZone("")) + ")")
	}
	b.WriteString("\r\n\tby " + env.Hostname + " with " + traceProtocol(env, protocol) + " id " + env.ID)
	if len(env.Recipients) == 1 {
		b.WriteString("\r\n\tfor <" + env.Recipients[0].Address + ">")
	}
	if t := env.Client.TLS; t != nil {
		b.WriteString("\r\n\ttls " + t.Cipher) // RFC 8314 4.3
	}
	b.WriteString(";\r\n\t" + env.ReceivedAt.Format(time.RFC1123Z) + "\r\n")
	return b.String()
}

// traceProtocol is the name of the protocol in IANA's registry of mail transmission types (RFC 3848, RFC 6531 4.3).
func traceProtocol(env *pipeline.Envelope, protocol string) string {
	switch {
	case protocol == "SMTP":
		return protocol // there is no name for HELO under TLS
	case env.SMTPUTF8:
		protocol = "UTF8" + strings.TrimPrefix(protocol, "E")
	}
	if env.Client.TLS != nil {
		protocol += "S"
	}
	return protocol
}

// traceHelo makes the client's name for itself safe inside the field: what cannot stand in a domain or an address
// literal becomes "?", and what is too long is cut.
func traceHelo(helo string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune("-._:[]", r):
			return r
		}
		return '?'
	}, helo[:min(len(helo), maxDomain)])
	if safe == "" {
		return "unknown"
	}
	return safe
}
