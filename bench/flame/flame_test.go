package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"
)

func TestTheInnermostFunctionOfAStageDecides(t *testing.T) {
	for want, stack := range map[string][]string{
		"reading SMTP":                        {"syscall.Read", "net.(*conn).Read", "mxhook/ingest.(*session).run", "sync.(*WaitGroup).Go.func1"},
		"durable write: publish, store, sync": {"syscall.Fsync", "github.com/nats-io/nats-server/v2/server.(*msgBlock).flush", "github.com/nats-io/nats-server/v2/server.(*fileStore).StoreMsg"},
		"scan and parse":                      {"runtime.mallocgc", "mxhook/pipeline/parse.(*Stage).Run", "mxhook/pipeline.(*Processor).Process", "mxhook/pipeline/queue.(*Queue).processOne"},
		"payload and signature":               {"encoding/json.Marshal", "mxhook/sinks/webhook.newBody", "mxhook/sinks/webhook.(*Webhook).deliver"},
		"POST":                                {"net.(*conn).Write", "net/http.(*persistConn).writeLoop"},
		"garbage collection":                  {"runtime.gcAssistAlloc1", "runtime.mallocgc", "mxhook/pipeline/parse.(*Stage).Run"},
		queueOther:                            {"syscall.Write", "github.com/nats-io/nats.go.(*Conn).flusher"},
		elsewhere:                             {"runtime.schedule", "runtime.mcall"},
	} {
		if got := stageOf(stack); got != want {
			t.Errorf("%v: %q, want %q", stack, got, want)
		}
	}
}

func TestThePictureIsWellFormed(t *testing.T) {
	root := &node{name: "all", value: 100, children: map[string]*node{}}
	a := root.child("mxhook/x.(*T[go.shape.string]).f<&>")
	a.value = 60
	a.child("runtime.memmove").value = 30
	root.child("little").value = 1
	picture := draw(root, `<"title"&>`, .02)
	if bytes.Contains(picture, []byte("little")) {
		t.Error("a box below the least share is drawn")
	}
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
