package ingest

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"mxhook/pipeline"
)

// nullSpool takes everything and keeps nothing.
type nullSpool struct{}

func (nullSpool) Admit(context.Context, int64) error { return nil }

func (nullSpool) Begin(context.Context, pipeline.Envelope) (Writer, error) { return nullWriter{}, nil }

type nullWriter struct{}

func (nullWriter) Write(p []byte) (int, error)  { return len(p), nil }
func (nullWriter) Commit(context.Context) error { return nil }
func (nullWriter) Abort()                       {}

// BenchmarkTransaction measures whole transactions over loopback on one connection, client included: MAIL, RCPT and
// DATA pipelined in one write, the message in another; with BDAT all of it in one.
func BenchmarkTransaction(b *testing.B) {
	for _, size := range []int{3_000, 30_000, 2_700_000} {
		line := strings.Repeat("x", 76) + "\r\n"
		message := strings.Repeat(line, size/len(line))
		const envelope = "MAIL FROM:<alice@example.org>\r\nRCPT TO:<support@example.com>\r\n"
		b.Run(fmt.Sprintf("DATA/%d", size), func(b *testing.B) {
			transact(b, size, []string{envelope + "DATA\r\n", message + ".\r\n"}, []int{3, 1})
		})
		b.Run(fmt.Sprintf("BDAT/%d", size), func(b *testing.B) {
			transact(b, size, []string{envelope + fmt.Sprintf("BDAT %d LAST\r\n", len(message)) + message}, []int{3})
		})
	}
}

// transact sends each write and reads its number of reply lines.
func transact(b *testing.B, size int, writes []string, replies []int) {
	s := serverFor(b, func(o *Options) {
		o.Spool, o.Log = nullSpool{}, slog.New(slog.DiscardHandler)
	})
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	octets := make([][]byte, len(writes))
	for i, w := range writes {
		octets[i] = []byte(w)
	}
	fmt.Fprintf(conn, "HELO client.example.org\r\n")
	for range 2 {
		if _, err := in.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for i, w := range octets {
			if _, err := conn.Write(w); err != nil {
				b.Fatal(err)
			}
			for range replies[i] {
				line, err := in.ReadSlice('\n')
				if err != nil || line[0] != '2' && line[0] != '3' {
					b.Fatalf("%s %v", line, err)
				}
			}
		}
	}
}
