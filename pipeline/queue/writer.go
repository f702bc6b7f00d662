package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// firstBuffer is what a writer asks for first: most mail fits. minBuffer is all it can count on when memory is short.
	firstBuffer = 16 * kib
	minBuffer   = 4 * kib
	// headroom is the room in front of a buffer for the lead and the head of the record.
	headroom = 1 * kib
	// smallPart is the size from which a buffer that cannot grow is sent as a part at once.
	smallPart = 64 * kib
	// partWindow bounds the parts of one message that are under way at once.
	partWindow = 4
	// roomTries and Config.tryFor bound the wait for memory of a writer that holds none to 30 s.
	roomTries = 3
	// growWait bounds the wait for memory of a writer that holds some.
	growWait = 100 * time.Millisecond
	// slowCommit is how long a commit may take before that is an event.
	slowCommit = 5 * time.Second
	// purgeWait bounds the clean-up after an abort.
	purgeWait = 5 * time.Second
)

// Writer takes the octets of one message into the queue. Up to Config.Inline octets wait in memory for Commit; of a
// larger message parts are stored while it arrives. It is not safe for concurrent use.
//
// All writers share Config.InFlight bytes. A writer waits for long only while it holds nothing; one that holds octets
// and gets no more room sends them as a part, whose room comes back when it is stored. So many large messages slow each
// other down, and never block each other. Once half of the room is used, nobody holds more than smallPart, and what
// clients have sent that stall is stored as a part.
type Writer struct {
	mu       sync.Mutex // held by every method, and by flush between them
	last     time.Time  // of the last octets
	q        *Queue
	ctx      context.Context // the transaction's; see Begin
	env      pipeline.Envelope
	auth     *pipeline.AuthResults // as Inspect left it, and problems
	problems []pipeline.Problem
	// repeatKey is what the same message is known by when it comes again; "" when nobody asks.
	repeatKey string
	// wait is nil unless somebody waits for an answer about the message.
	wait    *pipeline.Wait
	key     string
	shard   int
	subject string
	started time.Time
	limit   int64 // the size that the message may have

	hash  hash.Hash
	size  int64
	buf   []byte // cap(buf) bytes of q.inFlight are ours
	base  []byte // headroom, and behind it buf; nil without buf
	parts []*part
	done  int   // parts before this index are not under way
	err   error // the first failure; nothing works after it
	ended bool
	// unsure is set when the head was sent and nobody knows whether it is stored.
	unsure bool
}

// part is a part under way; seq and err are set when done is closed.
type part struct {
	done chan struct{}
	size int
	seq  uint64
	err  error
}

func newWriter(ctx context.Context, q *Queue, env pipeline.Envelope, key string, shard int, subject string) *Writer {
	w := &Writer{
		q: q, ctx: ctx, env: env, key: key, shard: shard, subject: subject, limit: q.cfg.MaxMessageSize,
		started: q.cfg.Now(), hash: sha256.New(),
	}
	q.writers.add(w)
	return w
}

// Write implements io.Writer. Its errors wrap pipeline.ErrStorage when storage ran short. It keeps nothing of p.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if w.ended {
		return 0, errors.New("write message: the writer has ended")
	}
	written := 0
	for len(p) > 0 && w.err == nil {
		if w.size+int64(len(p)) > w.limit {
			w.fail(fmt.Errorf("more than the %d octets a message may have", w.limit))
			break
		}
		if len(w.buf) == cap(w.buf) {
			if err := w.makeRoom(); err != nil {
				w.fail(err)
				break
			}
		}
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		w.hash.Write(p[:n])
		w.size += int64(n)
		written += n
		p = p[n:]
	}
	return written, w.err
}

// Commit returns nil only when the message is durable in the mode of Status.Durability. After an error it may be
// durable all the same: the sender's repeat is then a second message.
func (w *Writer) Commit(ctx context.Context) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return errors.New("commit message: the writer has ended")
	}
	if err := w.q.enter(); err != nil {
		w.finish(true)
		return fmt.Errorf("commit message: %w", err)
	}
	defer w.q.calls.Done()
	start := time.Now()
	if (w.q.cfg.DedupeWindow > 0 || w.wait != nil) && w.err == nil {
		w.repeatKey = fingerprint(&w.env, w.size, w.hash.Sum(nil))
		if w.wait != nil {
			w.wait.Key = w.repeatKey
		}
	}
	_, err = w.commit(ctx)
	var repeat *pipeline.Repeated
	if errors.As(err, &repeat) {
		w.q.metrics.repeats.Inc()
		w.q.cfg.Log.Info("message taken before", "message", w.env.ID, "first", repeat.ID)
		return err
	}
	took := time.Since(start)
	w.q.metrics.committed(took, err)
	if took > slowCommit {
		reason := "it took " + took.Round(time.Millisecond).String() + " until a message was durable"
		if err != nil {
			reason = "after " + took.Round(time.Millisecond).String() + " a message was not durable: " + firstLine(err)
		}
		w.q.cfg.Events.Emit(pipeline.Event{Kind: pipeline.EventQueueSlow, Message: w.env.ID, Reason: reason})
	}
	return err
}

func (w *Writer) commit(ctx context.Context) (*jetstream.PubAck, error) {
	ack, err := w.store(ctx)
	switch {
	case err == nil:
		w.finish(false)
	case w.err != nil || refused(err):
		w.finish(true)
	default:
		w.unsure = true // the head may be there
		w.finish(false)
	}
	if err != nil {
		return nil, fmt.Errorf("commit message: %w", err)
	}
	return ack, nil
}

// store stores what is left, and at last the head: with it the message exists. Errors before the head are in w.err.
func (w *Writer) store(ctx context.Context) (*jetstream.PubAck, error) {
	if w.err == nil && w.q.cfg.Now().Sub(w.started) > w.q.cfg.MaxTransaction {
		w.fail(fmt.Errorf("it took more than %v", w.q.cfg.MaxTransaction))
	}
	if len(w.parts) > 0 && len(w.buf) > 0 && w.err == nil {
		w.send()
	}
	w.waitParts(0)
	if w.err != nil {
		return nil, w.err
	}
	if w.repeatKey != "" {
		if id := w.q.earlier(ctx, w.repeatKey); id != "" {
			w.err = &pipeline.Repeated{ID: id}
			return nil, w.err
		}
	}
	rec := w.record()
	frame, err := w.frame(rec)
	if err != nil {
		w.fail(err)
		return nil, w.err
	}
	id := token(w.key)
	if w.subject == mailIn(w.shard) {
		w.q.handoff.put(id, &handed{rec, frame, len(w.buf)})
	}
	ack, err := w.q.publish(ctx, w.subject, id, nil, frame)
	if err != nil {
		w.q.handoff.take(id)
		return nil, err
	}
	if w.repeatKey != "" && w.wait == nil {
		w.q.noteTaken(w.repeatKey, w.env.ID)
	}
	return ack, nil
}

// frame is the record with its octets: those in the buffer, in place if the head fits in front of them. The buffer is not
// used again.
func (w *Writer) frame(rec mailRecord) ([]byte, error) {
	head, err := encodeHead(kindMail, rec)
	if err != nil {
		return nil, err
	}
	if start := headroom - len(head); w.base != nil && start >= 0 {
		copy(w.base[start:], head)
		return w.base[start : headroom+len(w.buf)], nil
	}
	return append(slices.Grow(head, len(w.buf)), w.buf...), nil
}

// record is the head of the message, all of whose parts are stored.
func (w *Writer) record() mailRecord {
	w.env.Size = w.size
	rec := mailRecord{
		Envelope: recordEnvelope(w.env), Size: w.size, SHA256: w.hash.Sum(nil), Auth: w.auth, Problems: w.problems,
		Wait: recordWait(w.wait),
	}
	if len(w.parts) > 0 {
		rec.PartKey = w.key
		for _, p := range w.parts {
			rec.Parts = append(rec.Parts, p.seq)
		}
	}
	return rec
}

// Abort drops the message and what was stored of it. It does nothing after Commit.
func (w *Writer) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.finish(true)
	}
}

// finish gives everything back and, when purge is set, removes the parts.
func (w *Writer) finish(purge bool) {
	w.ended = true
	w.q.writers.remove(w)
	w.waitParts(0)
	w.release(cap(w.buf))
	w.buf, w.base = nil, nil
	switch {
	case len(w.parts) == 0:
	case purge:
		w.purge("remove the parts of an aborted message", "part", "open")
	case !w.unsure:
		w.purge("remove the note about a message under way", "open")
	}
}

// purge removes what the stream has of the message: its parts (part), its note (open).
func (w *Writer) purge(what string, kinds ...string) {
	// The transaction's context may have ended; what stays behind goes with the janitor.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), purgeWait)
	defer cancel()
	l, err := w.q.current()
	if err == nil {
		err = purgeLarge(ctx, l.mail()[w.shard], w.shard, token(w.key), kinds...)
	}
	if err != nil && !errors.Is(err, errClosed) {
		w.q.cfg.Log.Warn(what, "message", w.env.ID, "error", err)
	}
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = fmt.Errorf("write message: %w", err)
	}
}

// makeRoom lets the buffer grow, or sends it as a part and starts a new one.
func (w *Writer) makeRoom() error {
	full := w.q.cfg.Inline
	if c := cap(w.buf); c > 0 && c < full {
		size := min(2*c, full)
		if (c < smallPart || !w.q.crowded(int64(size-c))) && w.grow(size) {
			return nil
		}
	}
	if cap(w.buf) > 0 {
		if err := w.q.admit(0); err != nil {
			return err
		}
		w.send()
		w.waitParts(partWindow - 1)
		if w.err != nil {
			return w.err
		}
	}
	return w.newBuffer()
}

// grow tries for a buffer of that size, if need be by waiting for parts of this message, and briefly for others.
func (w *Writer) grow(size int) bool {
	more := int64(size - cap(w.buf))
	for !w.q.inFlight.TryAcquire(more) {
		if w.waitOldest() {
			continue
		}
		if cap(w.buf) >= smallPart {
			return false
		}
		ctx, cancel := context.WithTimeout(w.ctx, growWait)
		err := w.q.inFlight.Acquire(ctx, more)
		cancel()
		if err != nil {
			return false
		}
		break
	}
	w.q.inFlightBytes.Add(more)
	octets := w.buf
	w.makeBuffer(size)
	w.buf = append(w.buf, octets...)
	return true
}

func (w *Writer) makeBuffer(size int) {
	w.base = make([]byte, headroom+size)
	w.buf = w.base[headroom:headroom]
}

// newBuffer gets a buffer for a writer that has none: a large one for a message known to be large, if there is room.
func (w *Writer) newBuffer() error {
	size := w.spareRoom()
	if size == 0 && len(w.parts) == 0 && !w.q.crowded(firstBuffer) && w.q.inFlight.TryAcquire(firstBuffer) {
		size = firstBuffer
	}
	if size == 0 {
		// Nothing of ours is held here: no buffer, no part under way.
		size = minBuffer
		ctx, cancel := context.WithTimeout(w.ctx, roomTries*w.q.cfg.tryFor)
		defer cancel()
		if err := w.q.inFlight.Acquire(ctx, minBuffer); err != nil {
			return fmt.Errorf("wait for memory, %d bytes are in flight: %w", w.q.inFlightBytes.Load(), err)
		}
	}
	w.q.inFlightBytes.Add(int64(size))
	w.makeBuffer(size)
	return nil
}

// spareRoom takes what room there is for another part, if need be when parts of this message are stored; 0 is none.
func (w *Writer) spareRoom() int {
	full := w.q.cfg.Inline
	for len(w.parts) > 0 {
		if !w.q.crowded(int64(full)) && w.q.inFlight.TryAcquire(int64(full)) {
			return full
		}
		if small := min(smallPart, full); w.q.inFlight.TryAcquire(int64(small)) {
			return small
		}
		if !w.waitOldest() {
			break
		}
	}
	return 0
}

func (w *Writer) release(n int) {
	if n > 0 {
		w.q.inFlightBytes.Add(-int64(n))
		w.q.inFlight.Release(int64(n))
	}
}

// send starts to store the buffer as the next part; the room of the buffer comes back when that is done. Before the first
// part there is a note, by which the janitor finds the parts of a message that never gets its head.
func (w *Writer) send() {
	if len(w.parts) == 0 && w.err == nil {
		if _, err := w.q.publish(w.ctx, mailOpen(w.shard, w.key), token(w.key)+".open", nil, nil); err != nil {
			w.fail(err)
		}
	}
	body := w.buf
	w.buf, w.base = nil, nil
	p := &part{done: make(chan struct{}), size: len(body)}
	id := fmt.Sprintf("%s.%d", token(w.key), len(w.parts))
	w.parts = append(w.parts, p)
	failed := w.err
	over := w.q.large(int64(len(body)))
	go func() {
		defer close(p.done)
		defer over()
		defer w.release(cap(body))
		if failed != nil {
			p.err = failed
			return
		}
		ack, err := w.q.publish(w.ctx, mailPart(w.shard, w.key), id, nil, body)
		if err != nil {
			p.err = err
			return
		}
		p.seq = ack.Sequence
	}()
}

// waitParts waits until at most n parts are under way.
func (w *Writer) waitParts(n int) {
	for len(w.parts)-w.done > n {
		w.waitOldest()
	}
}

// waitOldest waits for the oldest part under way and takes over its error; false when there is none.
func (w *Writer) waitOldest() bool {
	if w.done == len(w.parts) {
		return false
	}
	p := w.parts[w.done]
	w.done++
	<-p.done
	if p.err != nil {
		w.fail(p.err)
	}
	return true
}
