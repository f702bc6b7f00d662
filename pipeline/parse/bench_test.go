package parse

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/jhillyerd/enmime/v2"

	"mxhook/pipeline"
)

// benchMail is a mail of a usual kind and size.
type benchMail struct {
	name string
	raw  []byte
}

func benchMails() []benchMail {
	words := strings.Repeat("The quick brown fox jumps over the lazy dog and says so. ", 1)
	para := strings.Repeat(words, 4) + "=\r\n" + strings.Repeat("Gr=C3=BC=C3=9Fe ", 4) + "\r\n"
	htmlPara := "<p style=3D\"margin:0\">" + para + "</p>\r\n"
	pdf := make([]byte, 2200<<10)
	rand.New(rand.NewSource(1)).Read(pdf)
	header := "Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.com with ESMTPS id 1;\r\n\tSat, 21 Nov 2026 10:00:00 +0100\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1; h=from:to:subject;\r\n\tbh=" + strings.Repeat("A", 43) + "=; b=" + strings.Repeat("B", 340) + "\r\n" +
		"From: =?utf-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: Bob <bob@example.com>, carol@example.com\r\n" +
		"Subject: =?utf-8?B?R3LDvMOfZQ==?= from afar\r\nDate: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
	alternative := "Content-Type: multipart/alternative; boundary=\"alt\"\r\n\r\n" +
		"--alt\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(para, 30) +
		"--alt\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>" + strings.Repeat(htmlPara, 60) +
		"</body></html>\r\n--alt--\r\n"
	return []benchMail{
		{"plain 2 KB", []byte(header + "Content-Type: text/plain; charset=utf-8\r\n\r\n" + strings.Repeat(words+"\r\n", 20))},
		{"alternative 30 KB", []byte(header + alternative)},
		{"HTML only 20 KB", []byte(header + "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.Repeat(htmlPara, 60))},
		{"PDF 3 MB", []byte(header + "Content-Type: multipart/mixed; boundary=\"mix\"\r\n\r\n--mix\r\n" + alternative +
			"--mix\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n" +
			wrap(base64.StdEncoding.EncodeToString(pdf)) + "--mix--\r\n")},
	}
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return b.String() + s + "\r\n"
}

// BenchmarkParse puts the stage and bare enmime side by side on the same mails.
func BenchmarkParse(b *testing.B) {
	s := newStage(b, Limits{})
	for _, m := range benchMails() {
		b.Run(fmt.Sprintf("%s/stage", m.name), func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Run(context.Background(), &pipeline.Message{Raw: m.raw}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%s/enmime", m.name), func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := enmime.ReadEnvelope(bytes.NewReader(m.raw)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTunedEnmime is the same by enmime without what is slow in it, as its documentation does not tell users to set it.
func BenchmarkTunedEnmime(b *testing.B) {
	parser := enmime.NewParser(enmime.DisableCharacterDetection(true), enmime.DisableTextConversion(true))
	for _, m := range benchMails() {
		b.Run(m.name, func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parser.ReadEnvelope(bytes.NewReader(m.raw)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBombs shows that no bomb takes long.
func BenchmarkBombs(b *testing.B) {
	s := newStage(b, Limits{})
	for _, m := range bombs() {
		b.Run(m.name, func(b *testing.B) {
			b.SetBytes(int64(len(m.raw)))
			for b.Loop() {
				if err := s.Run(context.Background(), &pipeline.Message{Raw: m.raw}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
