package parse

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strings"
	"syscall"
	"testing"
	"time"

	"mxhook/pipeline"
)

// readerBombs are aimed at the readers of what stands in parts.
func readerBombs(t testing.TB) map[string]func() []byte {
	rep := strings.Repeat
	multi := func(part string, n int) []byte {
		return mail("Content-Type: multipart/mixed; boundary=b", rep("--b\r\n"+part+"\r\n", n)+"--b--\r\n")
	}
	status := func(s string) []byte {
		return mail("From: mailer-daemon@example.org\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b",
			"--b\r\nContent-Type: message/delivery-status\r\n\r\n"+s+"\r\n--b--\r\n")
	}
	empty := string(tnefAttr(2, attRendData, nil)) + string(tnefAttr(2, attTitle, []byte("a")))
	// Each pair of octets refers to 17 of the dictionary.
	rtf := "\x00\x00\x00\x00\xff\xff\xff\x7fLZFu\x00\x00\x00\x00" + rep("\xff"+rep("\x00\x0f", 8), 60_000)
	return map[string]func() []byte{
		"TNEF of 100000 files": func() []byte { return tnefMail(tnefOf([]byte(rep(empty, 100_000)))) },
		"1000 TNEF of 200 files": func() []byte {
			return multi("Content-Type: application/ms-tnef\r\n\r\n"+string(tnefOf([]byte(rep(empty, 200)))), 990)
		},
		"TNEF of 500000 properties": func() []byte {
			return tnefMail(tnefOf(tnefAttr(1, attMAPIProps, mapiList([]byte(rep("\x03\x00\x01\x00\x00\x00\x00\x00", 500_000))))))
		},
		"TNEF of a long list": func() []byte {
			return tnefMail(tnefOf(tnefAttr(1, attMAPIProps, []byte("\x01\x00\x00\x00\x03\x10\x01\x00\xff\xff\xff\xff"+rep("\x00", 1<<20)))))
		},
		"TNEF of lists of nothing": func() []byte {
			return tnefMail(tnefOf(tnefAttr(1, attMAPIProps, mapiList([]byte(rep("\x01\x10\x01\x00\xff\xff\xff\xff", 1000))))))
		},
		"packed RTF": func() []byte {
			return tnefMail(tnefOf(tnefAttr(1, attMAPIProps, mapiList(mapiProp(mapiBinary, propRTF, []byte(rtf))))))
		},
		"status of 100000 recipients": func() []byte { return status(rep("Final-Recipient: rfc822; a@example.org\r\n\r\n", 100_000)) },
		"status of one endless line":  func() []byte { return status("Diagnostic-Code: " + rep("a\r\n ", 500_000)) },
		"status of encoded words":     func() []byte { return status("Diagnostic-Code: " + rep("=?utf-8?q?a?= ", 100_000)) },
		"prose of addresses": func() []byte {
			return mail("From: mailer-daemon@example.org\r\nSubject: undelivered", rep("a@example.org: failed\r\n", 100_000))
		},
		"prose of at signs": func() []byte {
			return mail("From: mailer-daemon@example.org\r\nSubject: undelivered", rep("a@", 1<<20))
		},
		"failed recipients": func() []byte {
			return mail("From: mailer-daemon@example.org\r\nSubject: undelivered\r\nX-Failed-Recipients: "+params(20_000, "a%d@b.c ")+rep("a1@b.c ", 10_000), rep("x\r\n", 30_000))
		},
		"prose of paragraphs": func() []byte {
			return mail("From: mailer-daemon@example.org\r\nSubject: undelivered", "<a@b.c>: no\r\n"+rep("a\r\n\r\n", 20_000)+rep("To: a\r\nsubject: x\r\n", 100_000))
		},
		"SES notification of recipients": func() []byte {
			return mail("From: a@sns.amazonaws.com", `{"notificationType":"Bounce","bounce":{"bouncedRecipients":[`+rep("{},", 100_000)+`{}]},"mail":{"headers":[`+rep(`{"name":"a"},`, 10_000)+`{}]}}`)
		},
		"SES notification of depth": func() []byte { return mail("From: a@sns.amazonaws.com", `{"a":`+rep("[", 300_000)) },
		"999 attached messages": func() []byte {
			return multi("Content-Type: message/rfc822\r\n\r\nSubject: "+rep("=?utf-8?q?a?= ", 700)+"\r\n", 990)
		},
		"attached messages, long": func() []byte { return multi("Content-Type: message/rfc822\r\n\r\nTo: "+rep("a@b,", 20_000)+"\r\n", 50) },
		"calendar of events": func() []byte {
			return mail("Content-Type: text/calendar", "BEGIN:VCALENDAR\r\n"+rep("BEGIN:VEVENT\r\nEND:VEVENT\r\n", 100_000))
		},
		"calendar of attendees": func() []byte {
			return mail("Content-Type: text/calendar", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"+rep("ATTENDEE:a\r\n", 100_000))
		},
		"calendar of one folded line": func() []byte {
			return mail("Content-Type: text/calendar", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:"+rep("a\r\n ", 300_000))
		},
		"calendar of parameters": func() []byte {
			return mail("Content-Type: text/calendar", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY"+rep(";a=b", 300_000)+":x\r\n")
		},
		"calendar of zones": func() []byte {
			return mail("Content-Type: text/calendar", "BEGIN:VCALENDAR\r\n"+rep("BEGIN:VTIMEZONE\r\nBEGIN:STANDARD\r\nEND:STANDARD\r\n", 20_000))
		},
		"calendar in calendars":       func() []byte { return mail("Content-Type: text/calendar", rep("BEGIN:VCALENDAR\r\n", 100_000)) },
		"uuencoded files":             func() []byte { return mail("Subject: x", rep("begin 644 a\r\n#0V%T\r\n`\r\nend\r\n", 100_000)) },
		"uuencoded files without end": func() []byte { return mail("Subject: x", rep("begin 644 a\r\n#0V%T\r\n", 200_000)) },
		"reply of attributions":       func() []byte { return mail("Subject: x", rep("On 1 Jan 2026 a@b.c\r\n", 40_000)) },
		"reply of header words":       func() []byte { return mail("Subject: x", rep("From: a\r\nTo: b\r\n", 50_000)) },
		"gzip of 100 MB":              func() []byte { return reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, rep(" ", 100<<20))) },
		"aggregate report, nested":    func() []byte { return reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, rep("<a>", 2<<20))) },
		"aggregate report of reasons": func() []byte {
			return reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, "<record><row><policy_evaluated>"+rep("<reason><type/></reason>", 300_000)))
		},
		"aggregate report of records": func() []byte {
			return reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, rep("<record/>", 800_000)))
		},
		"aggregate report of brackets": func() []byte { return reportMail("application/gzip", "a!b!1!2.xml.gz", gzipped(t, rep("<", 7<<20))) },
		"TLS report of policies": func() []byte {
			return reportMail("application/tlsrpt+gzip", "r.gz", gzipped(t, `{"policies":[`+rep("{},", 2<<20)+"{}]}"))
		},
		"TLS report of hosts": func() []byte {
			return reportMail("application/tlsrpt+gzip", "r.gz", gzipped(t, `{"policies":[{"policy":{"mx-host":[`+rep(`"",`, 2<<20)+`""]}}]}`))
		},
		"list of URLs": func() []byte { return mail("List-Unsubscribe: "+rep("<https://a/>", 20_000), "deep") },
	}
}

// TestNoMessageTakesMoreThanItsBound bounds memory: a message may take six times its size and 32 MiB. The CPU time of each is
// printed and not asserted: it is the machine's, and the race detector's, too. It does not run in parallel to others.
func TestNoMessageTakesMoreThanItsBound(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	s := newStage(t, Limits{})
	check := func(name string, raw []byte) {
		m := &pipeline.Message{Raw: raw}
		var err error
		start := cpuTime(t)
		peak := peakHeap(func() { err = s.Run(context.Background(), m) })
		took := cpuTime(t) - start
		if err != nil || m.Content == nil {
			t.Fatalf("%s: %v", name, err)
		}
		if limit := uint64(6*len(raw) + 32<<20); peak > limit {
			t.Errorf("%s: %d octets took %d octets of memory, more than %d", name, len(raw), peak, limit)
		}
		t.Logf("%-30s %9d octets: %6.0f ms, %5.1f MiB", name, len(raw), took.Seconds()*1000, float64(peak)/(1<<20))
		checkInvariants(t, m)
	}
	// One at a time: what is kept makes the collector lazy.
	for name, build := range readerBombs(t) {
		check(name, build())
	}
	for _, b := range bombs() {
		check(b.name, b.raw)
	}
}

// cpuTime returns the time that this process has computed so far.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakHeap runs f and returns how much the heap grew at most meanwhile.
func peakHeap(f func()) uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	heap := func() uint64 {
		runtimemetrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	debug.FreeOSMemory()
	before := heap()
	peak, done, stopped := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak = max(peak, heap())
			}
		}
	}()
	f()
	close(done)
	<-stopped
	return max(peak, heap()) - before
}
