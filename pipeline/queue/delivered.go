package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mxhook/pipeline"
)

const (
	// maxLog bounds the list of deliveries that succeeded, in bytes: some two million of them.
	maxLog = 512 * mib
	// maxLogBatches bounds it instead where a server has not that much to set aside.
	maxLogBatches = 10_000
	// logEvery is how long a success waits in memory to be written down together with others.
	logEvery = time.Second
	// logBatch is how many are written down as one record.
	logBatch = 256
	// maxUnlogged bounds those that wait.
	maxUnlogged = 20_000
)

// deliveredLog has the successes that are not written down yet. They are no part of the promise of a 250: a crash loses
// the records of the last second, never a mail.
type deliveredLog struct {
	mu      sync.Mutex
	waiting []deliveredRecord
	lost    int
}

// Delivered notes that a delivery succeeded, for lists and replays. It does not wait.
func (q *Queue) Delivered(k *pipeline.KeptDelivery) {
	q.successes.note(k.Delivery)
	rec := recordDelivered(k)
	d := &q.delivered
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= maxUnlogged {
		d.lost++
		q.metrics.unlogged.Inc()
		return
	}
	d.waiting = append(d.waiting, rec)
}

// keepDelivered writes down what was delivered, every now and then; the rest is up to Close.
func (q *Queue) keepDelivered() {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-q.ending.Done():
			return
		case <-tick.C:
		}
		l, err := q.current()
		if err == nil {
			err = q.writeDelivered(q.ending, l)
		}
		if err != nil && q.ending.Err() == nil {
			q.cfg.Log.Debug("write down what was delivered; it is tried again", "error", err)
		}
	}
}

// writeDelivered writes down all that waits, or puts back what it could not write.
func (q *Queue) writeDelivered(ctx context.Context, l *link) error {
	d := &q.delivered
	d.mu.Lock()
	waiting, lost := d.waiting, d.lost
	d.waiting, d.lost = nil, 0
	d.mu.Unlock()
	if lost > 0 {
		q.cfg.Log.Error("deliveries succeeded that lists and replays do not know of: the queue did not take their records in time", "deliveries", lost)
	}
	for len(waiting) > 0 {
		n := min(len(waiting), logBatch)
		if err := q.writeBatch(ctx, l, waiting[:n]); err != nil {
			d.mu.Lock()
			d.waiting = append(waiting, d.waiting...)
			d.mu.Unlock()
			return err
		}
		waiting = waiting[n:]
	}
	return nil
}

func (q *Queue) writeBatch(ctx context.Context, l *link, batch []deliveredRecord) error {
	frame, err := encodeFrame(kindLog, logRecord{batch}, nil)
	if err != nil && len(batch) > 1 { // too large
		if err := q.writeBatch(ctx, l, batch[:len(batch)/2]); err != nil {
			return err
		}
		return q.writeBatch(ctx, l, batch[len(batch)/2:])
	}
	if err != nil {
		q.metrics.unlogged.Inc()
		q.cfg.Log.Error("a delivery succeeded that lists and replays do not know of", "delivery", batch[0].Delivery.ID, "error", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, q.cfg.tryFor)
	defer cancel()
	msg := &nats.Msg{Subject: logSubject, Data: frame}
	if _, err := l.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("write down what was delivered: %w", err)
	}
	q.sinceLook.Add(int64(len(frame)))
	return nil
}

// eachDelivered calls fn for the successes that one message of the log has.
func (q *Queue) eachDelivered(m jetstream.Msg, fn func(*pipeline.KeptDelivery) error) error {
	var rec logRecord
	if _, err := decodeFrame(kindLog, m.Data(), &rec); err != nil {
		if _, said := q.unreadable.LoadOrStore(m.Subject(), true); !said {
			q.cfg.Log.Error("a record of deliveries cannot be read", "error", err)
		}
		return nil
	}
	for _, r := range rec.Deliveries {
		if err := fn(r.kept()); err != nil {
			return err
		}
	}
	return nil
}
