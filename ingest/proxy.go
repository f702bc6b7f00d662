package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2 (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt). A load balancer
// sends the header before anything else, the TLS handshake included. It is read octet by octet, so that nothing behind
// it is taken off the connection.

// proxySignature begins a header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// maxProxyLine is the longest header of version 1, with its CRLF.
const maxProxyLine = 107

var (
	errProxyHeader = errors.New("no PROXY protocol header")
	// errProxyClosed is a connection that was closed without a single octet, as a check of the port does.
	errProxyClosed = errors.New("closed without a PROXY protocol header")
)

// readProxyHeader reads the header and returns the client's address. It is the zero value for a connection of the
// balancer itself: LOCAL in version 2, UNKNOWN in version 1, and families without IP addresses.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	var start [len(proxySignature)]byte // a version 1 header has at least 15 octets
	switch n, err := io.ReadFull(r, start[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return netip.AddrPort{}, errProxyClosed
	case errors.Is(err, io.ErrUnexpectedEOF):
		return netip.AddrPort{}, errProxyHeader
	case err != nil:
		return netip.AddrPort{}, err
	}
	switch {
	case string(start[:]) == proxySignature:
		return readProxyV2(r)
	case bytes.HasPrefix(start[:], []byte("PROXY ")):
		return readProxyV1(r, start[:])
	}
	return netip.AddrPort{}, errProxyHeader
}

func readProxyV1(r io.Reader, start []byte) (netip.AddrPort, error) {
	line := append(make([]byte, 0, maxProxyLine), start...)
	var one [1]byte
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxProxyLine || bytes.IndexByte(line, '\n') >= 0 {
			return netip.AddrPort{}, fmt.Errorf("%w: version 1 without an end", errProxyHeader)
		}
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return netip.AddrPort{}, fmt.Errorf("read a PROXY header: %w", err)
		}
		line = append(line, one[0])
	}
	words := strings.Split(string(line[:len(line)-2]), " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, fmt.Errorf("%w: version 1 with other words", errProxyHeader)
	}
	client, err := netip.ParseAddr(words[2])
	_, destErr := netip.ParseAddr(words[3])
	port, portErr := parsePort(words[4])
	_, destPortErr := parsePort(words[5])
	if err := errors.Join(err, destErr, portErr, destPortErr); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: version 1: %w", errProxyHeader, err)
	}
	if client.Is4() != (words[1] == "TCP4") || client.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: version 1 with an address of another family", errProxyHeader)
	}
	return netip.AddrPortFrom(client.Unmap(), port), nil
}

// readProxyV2 reads what follows the signature. Extensions (TLVs) are skipped.
func readProxyV2(r io.Reader) (netip.AddrPort, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read a PROXY header: %w", err)
	}
	rest := make([]byte, min(int(binary.BigEndian.Uint16(head[2:])), 36))
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read a PROXY header: %w", err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint16(head[2:]))-int64(len(rest))); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read a PROXY header: %w", err)
	}
	version, command, family := head[0]>>4, head[0]&0xf, head[1]
	switch {
	case version != 2 || command > 1:
		return netip.AddrPort{}, fmt.Errorf("%w: version %d, command %d", errProxyHeader, version, command)
	case command == 0: // LOCAL
		return netip.AddrPort{}, nil
	case family == 0x11: // TCP over IPv4: two addresses, two ports
		if len(rest) < 12 {
			return netip.AddrPort{}, fmt.Errorf("%w: version 2 is too short", errProxyHeader)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[:4])), binary.BigEndian.Uint16(rest[8:])), nil
	case family == 0x21: // TCP over IPv6
		if len(rest) < 36 {
			return netip.AddrPort{}, fmt.Errorf("%w: version 2 is too short", errProxyHeader)
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[:16])).Unmap(), binary.BigEndian.Uint16(rest[32:])), nil
	}
	return netip.AddrPort{}, nil
}

// proxied learns the client's address from the balancer. It returns false when the session is over.
func (s *session) proxied() bool {
	if !contains(s.lst.proxy, s.client.IP) {
		s.linger = true
		s.refuse(replyNotTheProxy, errors.New("the connection does not come from a trusted balancer; see the listener's proxy networks"))
		return false
	}
	var client netip.AddrPort
	err := s.wire.readFirst(time.Now().Add(s.srv.opts.Timeouts.Proxy), func(r io.Reader) (err error) {
		client, err = readProxyHeader(r)
		return err
	})
	switch {
	case errors.Is(err, errProxyClosed), errors.Is(err, errDraining):
		s.closing = true
		s.log.Debug("connection ends before the PROXY header", "error", err)
		return false
	case err != nil:
		s.linger = true
		s.refuse(replyBadProxyHeader, err)
		return false
	case !client.IsValid(): // of the balancer itself, most often a health check
		s.log.Debug("the balancer speaks for itself")
		return true
	}
	s.client.IP, s.client.Port = client.Addr(), client.Port()
	s.log = s.srv.opts.Log.With("listener", s.lst.name, "client", s.client.IP)
	return true
}

// contains reports whether an address is in one of the networks.
func contains(networks []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}
