package main

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// partsWithoutHead reads the store of a queue that nobody has open, and returns the subjects of parts of large messages
// that no head names.
func partsWithoutHead(t *testing.T, dir string) (left []string) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(30 * time.Second) {
		t.Fatal("the store does not open")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream(nats.MaxWait(30 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames() {
		if !strings.HasPrefix(name, "MXHOOK_MAIL_") {
			continue
		}
		k := strings.TrimPrefix(name, "MXHOOK_MAIL_")
		info, err := js.StreamInfo(name, &nats.StreamInfoRequest{SubjectsFilter: "mxhook.mail." + k + ".part.*"})
		if err != nil {
			t.Fatal(err)
		}
		parts := info.State.Subjects
		for seq := info.State.FirstSeq; len(parts) > 0 && seq <= info.State.LastSeq; seq++ {
			msg, err := js.GetMsg(name, seq)
			if err != nil {
				continue // it was removed
			}
			if key := partKey(t, msg.Data); key != "" {
				delete(parts, "mxhook.mail."+k+".part."+key)
			}
		}
		for subject := range parts {
			left = append(left, subject)
		}
	}
	return left
}

// partKey returns the key of the parts that a stored head names; "" for anything else.
func partKey(t *testing.T, frame []byte) string {
	t.Helper()
	if len(frame) < 10 || string(frame[:4]) != "MXQM" {
		return ""
	}
	var head struct {
		PartKey string `json:"part_key"`
	}
	if err := json.Unmarshal(frame[10:10+binary.BigEndian.Uint32(frame[6:10])], &head); err != nil {
		t.Fatalf("read a head: %v", err)
	}
	return head.PartKey
}
