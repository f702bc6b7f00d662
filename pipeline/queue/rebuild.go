package queue

import (
	"context"
	"time"
)

const (
	// rebuildPause lies between two attempts to bring the embedded server back.
	rebuildPause = 2 * time.Second
	// rebuildRoom is the free space in bytes below which the server cannot come up.
	rebuildRoom = 16 * mib
	// recoverFor bounds one start of the server, which may read the whole store.
	recoverFor = 15 * time.Minute
)

// reportBroken asks for a new embedded server; further reports until then change nothing.
func (q *Queue) reportBroken(reason string) {
	select {
	case q.broken <- reason:
	default:
	}
}

// rebuild replaces the embedded server when it can no longer write (disk full, I/O error): it stays up then without
// answering, and only a new server on the same store recovers. Until then the queue is down: nothing is admitted, and
// what was handed out comes back. It also has no file open, so that the volume can be unmounted, repaired and mounted.
func (q *Queue) rebuild() {
	for {
		var reason string
		select {
		case <-q.ending.Done():
			return
		case reason = <-q.broken:
		}
		old := q.link.Swap(nil)
		if old == nil {
			continue
		}
		q.cfg.Log.Error("the queue's server can no longer write; it is started anew", "reason", reason)
		q.metrics.up.Set(0)
		// Without a bound: two servers on one store would destroy it.
		if err := old.shut(context.Background()); err != nil {
			q.cfg.Log.Error("stop the queue's server", "error", err)
		}
		q.lock.Close() //nolint:errcheck // on a broken volume it may fail, and the lock is gone all the same
		q.comeBack()
	}
}

// comeBack connects until it succeeds or the queue is closed.
func (q *Queue) comeBack() {
	for ; q.ending.Err() == nil; sleep(q.ending, rebuildPause) { //nolint:errcheck // the loop looks at ending
		if free, err := diskFree(q.cfg.Dir); err != nil || free < rebuildRoom {
			q.cfg.Log.Error("the volume is full: the queue waits for room", "free", free, "needed", rebuildRoom, "error", err)
			continue
		}
		lock, err := lockAgain(q.cfg.Dir)
		if err != nil {
			q.cfg.Log.Error("the volume of the queue cannot be used: it waits until it can", "error", err)
			continue
		}
		l, err := q.connectFor(recoverFor)
		if err != nil {
			q.cfg.Log.Error("the queue's server did not come back", "error", err)
			lock.Close() //nolint:errcheck // it is taken again
			continue
		}
		q.lock = lock
		select { // what the old server said
		case <-q.broken:
		default:
		}
		q.unanswered.Store(0)
		q.link.Store(l)
		q.metrics.rebuilds.Inc()
		q.metrics.up.Set(1)
		q.cfg.Log.Info("the queue is back")
		return
	}
}

func (q *Queue) connectFor(d time.Duration) (*link, error) {
	ctx, cancel := context.WithTimeout(q.ending, d)
	defer cancel()
	return q.connect(ctx)
}
