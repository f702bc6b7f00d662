package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
)

// sample is one mail of the demo and the envelope it is sent with.
type sample struct {
	title, file    string
	from, to, helo string
	// signer is the domain that signs the mail with DKIM; "" for none.
	signer string
	mail   []byte
}

// samples are the mails of the demo, signed, and the DNS zones in which their senders live.
type samples struct {
	mails []sample
	zones zones
}

// loadSamples reads the samples and signs them with a key made for this run, so that the verdicts are real ones.
func loadSamples() (*samples, error) {
	s := &samples{mails: []sample{
		{
			title: "A plain mail from a sender that DMARC verifies", file: "1-ticket.eml",
			from: "alice@example.org", to: "support+42@example.com", helo: "mail.example.org", signer: "example.org",
		},
		{
			title: "Text and HTML with an attachment", file: "2-invoice.eml",
			from: "bounce+118@lamps.example", to: "invoices@example.com", helo: "out.lamps.example", signer: "lamps.example",
		},
		{
			title: "Another character set (ISO-2022-JP)", file: "3-japanese.eml",
			from: "hanako@shop.example", to: "reply+tanaka@example.com", helo: "mx.shop.example", signer: "shop.example",
		},
		{
			title: "A forgery: it claims to be from example.org, and to have passed", file: "4-forged.eml",
			from: "mallory@spoof.example", to: "support@example.com", helo: "mail.spoof.example",
		},
	}}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make a DKIM key: %w", err)
	}
	s.zones = zones{"spoof.example": "v=spf1 -all"}
	for _, domain := range []string{"example.org", "lamps.example", "shop.example"} {
		s.zones[domain] = "v=spf1 ip4:127.0.0.1 -all"
		s.zones["_dmarc."+domain] = "v=DMARC1; p=reject"
		s.zones["demo._domainkey."+domain] = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	}
	for i := range s.mails {
		if err := s.mails[i].load(private); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sample) load(key crypto.Signer) error {
	raw, err := sampleFiles.ReadFile("samples/" + s.file)
	if err != nil {
		return err
	}
	raw = withCRLF(raw)
	if s.signer == "" {
		s.mail = raw
		return nil
	}
	var signed bytes.Buffer
	err = dkim.Sign(&signed, bytes.NewReader(raw), &dkim.SignOptions{
		Domain: s.signer, Selector: "demo", Signer: key, HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"},
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return fmt.Errorf("sign %s: %w", s.file, err)
	}
	s.mail = signed.Bytes()
	return nil
}

// zones are the TXT records of the demo's senders, by name; nothing else exists. The demo asks no other DNS.
type zones map[string]string

// LookupTXT implements msgauth.Resolver.
func (z zones) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt, ok := z[strings.ToLower(strings.TrimSuffix(name, "."))]; ok {
		return []string{txt}, nil
	}
	return nil, noSuchName(name)
}

// LookupNetIP implements msgauth.Resolver.
func (z zones) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, noSuchName(host)
}

// LookupMX implements msgauth.Resolver.
func (z zones) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, noSuchName(name)
}

// LookupAddr implements msgauth.Resolver.
func (z zones) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, noSuchName(addr)
}

func noSuchName(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
