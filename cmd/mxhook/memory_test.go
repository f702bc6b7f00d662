package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// A mail of 40 MB goes through a process whose memory stays below six times its size.
func TestALargeMailPassesInBoundedMemory(t *testing.T) {
	const size = 40_000_000
	endpoint := apptest.NewEndpoint(t)
	endpoint.Forget()
	p := apptest.NewProcess(t, apptest.Build(t), apptest.Options{Endpoint: endpoint})
	p.Start()
	idle, err := p.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	mail := attachmentMail(size)
	id, err := apptest.SendOne(p.SMTP(), apptest.Mail{From: "s@example.org", To: []string{"in@example.com"}, Data: mail})
	if err != nil {
		t.Fatal(err)
	}
	endpoint.WaitCount(t, 1, time.Minute)
	if endpoint.Accepted()[id+".hook"] != 1 {
		t.Errorf("the webhook was not accepted: %v", endpoint.Accepted())
	}
	peak, err := p.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("mail %d bytes: peak memory %.1f MB, %.2f × the mail (%.1f MB before it came)",
		len(mail), float64(peak)/1e6, float64(peak)/float64(len(mail)), float64(idle)/1e6)
	if limit := int64(6 * size); peak >= limit {
		t.Errorf("peak memory is %d bytes, want below %d", peak, limit)
	}
}

// attachmentMail makes a mail with one random attachment in base64, about size octets long.
func attachmentMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: s@example.org\r\nTo: in@example.com\r\nSubject: large\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee attachment\r\n" +
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"large.bin\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n")
	random := rand.NewChaCha8([32]byte{1})
	line := make([]byte, 57)
	for b.Len() < size-100 {
		_, _ = random.Read(line) // never fails
		fmt.Fprintf(&b, "%s\r\n", base64.StdEncoding.EncodeToString(line))
	}
	b.WriteString("--b--\r\n")
	return b.Bytes()
}
