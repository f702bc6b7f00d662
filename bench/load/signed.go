package load

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// Source makes the n-th mail of a load. It is called concurrently, and the octets are not used after the mail was sent.
type Source func(n int) []byte

// Domain and Selector are those of signed mails.
const (
	Domain   = "example.org"
	Selector = "load"
)

// variants is how many different mails are signed for each size of a mix: signing costs more than all else here, and a
// server that has seen a mail before gains nothing from that.
const variants = 64

// Signed makes mails as a program sends them today: multipart/alternative with text and HTML, signed by DKIM
// (rsa-sha256 with 2048 bits, relaxed/relaxed). What differs between two mails of one variant is a field of the
// header that no signature covers, with the time and the number. It returns the DKIM record of the key as well.
func Signed(m Mix) (Source, string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, "", err
	}
	signed := map[int][][]byte{}
	for _, p := range m {
		count := variants
		if p.Size > 1_000_000 {
			count = 1
		}
		for v := range count {
			var out bytes.Buffer
			err := dkim.Sign(&out, bytes.NewReader(alternative(v, p.Size)), &dkim.SignOptions{
				Domain: Domain, Selector: Selector, Signer: key,
				HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
				HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"},
			})
			if err != nil {
				return nil, "", fmt.Errorf("sign a mail: %w", err)
			}
			signed[p.Size] = append(signed[p.Size], out.Bytes())
		}
	}
	source := func(n int) []byte {
		of := signed[m.size(n)]
		mail := of[n%len(of)]
		out := make([]byte, 0, len(mail)+64)
		out = append(out, SentField+": "...)
		out = strconv.AppendInt(out, time.Now().UnixNano(), 10)
		out = append(out, ' ')
		out = strconv.AppendInt(out, int64(n), 10)
		out = append(out, "\r\n"...)
		return append(out, mail...)
	}
	return source, "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public), nil
}

// alternative is a mail of about size octets: a third text, the rest HTML, as quoted-printable.
func alternative(variant, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Received: from app-%d.example.org (app.example.org [192.0.2.%d])\r\n\tby mail.example.org (Postfix) with ESMTPS id 4cVw%04d\r\n\tfor <in@example.com>; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\r\n", variant, variant%250+1, variant)
	fmt.Fprintf(&b, "From: \"Sender, Example Shop\" <sender@example.org>\r\nTo: In <in@example.com>\r\nReply-To: orders+%d@example.org\r\n"+
		"Subject: =?utf-8?Q?Ihre_Bestellung_Nr=2E_%d_ist_unterwegs_=E2=9C=89?=\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"+
		"Message-ID: <order-%d@mail.example.org>\r\nMIME-Version: 1.0\r\nX-Mailer: example-shop 4.2\r\n"+
		"List-Unsubscribe: <https://shop.example.org/u/%d>\r\nContent-Type: multipart/alternative; boundary=\"=_part_%d\"\r\n\r\n", variant, 1000+variant, variant, variant, variant)
	text := "Guten Tag, Ihre Bestellung %d ist heute an den Versand gegangen. Sie k=C3=B6nnen=\r\n sie unter https://shop.example.org/orders/%d verfolgen.\r\n"
	html := "<p style=3D\"margin:0 0 16px;font-size:16px;color:#333\">Ihre Bestellung <b>%d</b>=\r\n ist unterwegs, <a href=3D\"https://shop.example.org/orders/%d\">hier</a> &uuml;ber=\r\n den Stand.</p>\r\n"
	part := func(kind, line, before, after string, until int) {
		fmt.Fprintf(&b, "--=_part_%d\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s", variant, kind, before)
		for i := 0; b.Len() < until; i++ {
			fmt.Fprintf(&b, line, variant*1000+i, variant*1000+i)
		}
		b.WriteString(after)
	}
	const signature = 700 // octets, about
	if size > withFile {
		return mixed(variant, size-signature)
	}
	part("plain", text, "", "", (size-signature)/3)
	part("html", html, "<!DOCTYPE html><html><head><title>Bestellung</title></head><body>\r\n", "</body></html>\r\n", size-signature-200)
	b.WriteString("--=_part_" + strconv.Itoa(variant) + "--\r\n")
	return b.Bytes()
}

// withFile is the size from which on a mail is large because of a file.
const withFile = 200_000

// mixed is a mail of about size octets with a short text and a file, as base64.
func mixed(variant, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Sender <sender@example.org>\r\nTo: In <in@example.com>\r\nSubject: file %[1]d\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"+
		"Message-ID: <file-%[1]d@mail.example.org>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_file_%[1]d\"\r\n\r\n"+
		"--=_file_%[1]d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPlease find the file attached.\r\n"+
		"--=_file_%[1]d\r\nContent-Type: application/pdf; name=\"file.pdf\"\r\nContent-Disposition: attachment; filename=\"file.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", variant)
	const line = 57 // octets of a line of 76 characters
	block := make([]byte, line*1000)
	_, _ = rand.Read(block) // never fails
	lines := size / 78
	for i := range lines {
		at := i * line % len(block)
		b.WriteString(base64.StdEncoding.EncodeToString(block[at : at+line]))
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "--=_file_%d--\r\n", variant)
	return b.Bytes()
}

// plain makes text mails of the sizes of a mix, unsigned.
func plain(m Mix) Source {
	const line = "The quick brown fox jumps over the lazy dog, and then it jumps again.\r\n"
	largest := 0
	for _, p := range m {
		largest = max(largest, p.Size)
	}
	fill := []byte(strings.Repeat(line, largest/len(line)+1))
	return func(n int) []byte {
		var out bytes.Buffer
		fmt.Fprintf(&out, "From: Sender <sender@example.org>\r\nTo: in@example.com\r\nSubject: mail %d\r\n"+
			"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%d@load.example.org>\r\n%s: %d %d\r\n"+
			"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", n, n, SentField, time.Now().UnixNano(), n)
		rest := max(0, m.size(n)-out.Len())
		out.Write(fill[:rest-rest%len(line)])
		return out.Bytes()
	}
}
