package queue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"mxhook/pipeline"
)

// maxNotes bounds the notes of taken messages that are on their way into the memory; beyond it a message gets none.
const maxNotes = 256

// repeats recognises a message that a sender sends again because it did not hear the 250.
type repeats struct {
	memory *Memory
	notes  chan struct{}
}

// fingerprint is the same for the same octets under the same envelope. Who the client is does not count: a retry may
// come from another host of the sender.
func fingerprint(env *pipeline.Envelope, size int64, sum []byte) string {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	field(env.ReversePath)
	for _, r := range env.Recipients {
		field(r.Address)
	}
	field("")
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(size))
	h.Write(n[:])
	h.Write(sum)
	return "same." + hex.EncodeToString(h.Sum(nil)[:20])
}

// earlier returns the id of the same message, taken within the window; "" when there is none, or when nobody knows.
func (q *Queue) earlier(ctx context.Context, key string) string {
	id, _, err := q.repeats.memory.get(ctx, key)
	if err != nil {
		q.cfg.Log.Warn("look for an earlier copy of a message; it is taken as a new one", "error", err)
	}
	return id
}

// noteTaken remembers a message that was taken, without making its sender wait.
func (q *Queue) noteTaken(key, id string) {
	select {
	case q.repeats.notes <- struct{}{}:
	default:
		q.cfg.Log.Warn("a message was taken that would not be recognised when it is sent again: too many at once", "message", id)
		return
	}
	q.tasks.Go(func() {
		defer func() { <-q.repeats.notes }()
		if err := q.repeats.memory.put(context.Background(), key, []byte(id), q.cfg.DedupeWindow); err != nil {
			q.cfg.Log.Warn("a message was taken that would not be recognised when it is sent again", "message", id, "error", err)
		}
	})
}
