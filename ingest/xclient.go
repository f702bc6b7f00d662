package ingest

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// XCLIENT (https://www.postfix.org/XCLIENT_README.html) lets a trusted relay in front say whose connection it passes on.

// xclientNames are the attributes that are understood. Those that only say what is of no use here are checked and
// ignored.
func xclientNames() []string {
	return []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"}
}

// xclientUpdate is what one XCLIENT command says; a field that it does not name stays as it was.
type xclientUpdate struct {
	ip   *netip.Addr
	port *uint16
	helo *string
}

// xclient takes another client's identity. The session begins anew, with a greeting.
func (s *session) xclient(arg string) {
	switch {
	case !s.mayXclient:
		s.reply(replyNoXclient)
		return
	case s.tx != nil:
		s.reply(replyInTransaction)
		return
	}
	u, err := parseXclient(arg)
	if err != nil {
		s.reply(replyXclientSyntax)
		return
	}
	if u.ip != nil {
		s.client.IP, s.client.Port = *u.ip, 0
		s.log = s.srv.opts.Log.With("listener", s.lst.name, "client", s.client.IP)
	}
	if u.port != nil {
		s.client.Port = *u.port
	}
	if u.helo != nil {
		s.xhelo = *u.helo
	}
	s.client.Helo, s.extended = "", false
	s.reputation = nil
	if u.ip != nil && !s.admitClient() {
		return
	}
	s.reply(s.greeting())
}

// parseXclient reads NAME=value pairs, the values in xtext. [UNAVAILABLE] and [TEMPUNAVAIL] mean that nobody knows.
func parseXclient(arg string) (u xclientUpdate, err error) {
	if strings.TrimSpace(arg) == "" {
		return u, errors.New("no attributes")
	}
	for attribute := range strings.FieldsSeq(arg) {
		name, encoded, hasValue := strings.Cut(attribute, "=")
		value, ok := decodeXtext(encoded)
		if !ok || !hasValue {
			return u, errors.New("bad value")
		}
		unknown := strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]")
		switch strings.ToUpper(name) {
		case "ADDR":
			ip := netip.Addr{}
			if !unknown {
				if ip, err = parseXclientAddress(value); err != nil {
					return u, err
				}
			}
			u.ip = &ip
		case "PORT":
			port := uint16(0)
			if !unknown {
				if port, err = parsePort(value); err != nil {
					return u, err
				}
			}
			u.port = &port
		case "HELO":
			if unknown {
				value = ""
			}
			if len(value) > maxDomain {
				return u, errors.New("HELO is too long")
			}
			u.helo = &value
		case "PROTO":
			if !strings.EqualFold(value, "SMTP") && !strings.EqualFold(value, "ESMTP") {
				return u, errors.New("unknown protocol")
			}
		case "NAME", "LOGIN", "DESTADDR", "DESTPORT":
		default:
			return u, errors.New("unknown attribute")
		}
	}
	return u, nil
}

func parseXclientAddress(s string) (netip.Addr, error) {
	s, isV6 := cutPrefixFold(s, "IPV6:")
	ip, err := netip.ParseAddr(s)
	if err != nil || isV6 != ip.Is6() || ip.Zone() != "" {
		return netip.Addr{}, errors.New("bad address")
	}
	return ip.Unmap(), nil
}

// parsePort reads a port of digits alone.
func parsePort(s string) (uint16, error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("bad port")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}
