package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mxhook/pipeline"
)

// Admit says whether a message of that many octets (0: unknown) can be taken now. It wraps pipeline.ErrStorage when
// the volume or the quota has less than size beyond the reserve; any other error means that the queue does not work.
func (q *Queue) Admit(_ context.Context, size int64) error {
	err := q.admit(size)
	if err != nil {
		q.metrics.refused(err)
	}
	return err
}

func (q *Queue) admit(size int64) error {
	need := q.cfg.Reserve + max(size, 0) + q.inFlightBytes.Load()
	if q.cfg.URL == "" {
		free, err := q.volume.free(q.cfg.Dir)
		if err != nil {
			return fmt.Errorf("admit message: %w", err)
		}
		if free < need {
			return fmt.Errorf("admit message: %w: %d bytes free on the volume, %d needed with the reserve",
				pipeline.ErrStorage, free, need)
		}
	}
	if _, err := q.current(); err != nil {
		return fmt.Errorf("admit message: %w", err)
	}
	if s := q.storage.Load(); s != nil && s.limit > 0 {
		if left := s.limit - s.used - q.sinceLook.Load(); left < need {
			return fmt.Errorf("admit message: %w: %d bytes left of the quota of %d, %d needed with the reserve",
				pipeline.ErrStorage, left, s.limit, need)
		}
	}
	return nil
}

// Begin starts to take a message. Its envelope is complete except for Size, which the writer counts. ctx is the
// transaction's: when it ends, so do the writer's waits. The caller ends every writer with Commit or Abort.
func (q *Queue) Begin(ctx context.Context, env pipeline.Envelope) (*Writer, error) {
	if env.ID == "" {
		return nil, errors.New("begin message: no message id")
	}
	shard := q.mailShard(env.ID)
	return q.begin(ctx, env, env.ID, shard, mailIn(shard))
}

// begin is Begin for any subject of the shard; key tells this copy of the message from others.
func (q *Queue) begin(ctx context.Context, env pipeline.Envelope, key string, shard int, subject string) (*Writer, error) {
	if err := q.admit(0); err != nil {
		return nil, err
	}
	return newWriter(ctx, q, env, key, shard, subject), nil
}

// volumeEvery is how often the volume is looked at when messages come fast: what they take meanwhile is little beside any
// reserve.
const volumeEvery = 10 * time.Millisecond

// volume is what a look at the volume found, for a moment.
type volume struct {
	mu   sync.Mutex
	at   time.Time
	left int64
}

func (v *volume) free(dir string) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := time.Now(); now.Sub(v.at) > volumeEvery {
		left, err := diskFree(dir)
		if err != nil {
			return 0, err
		}
		v.at, v.left = now, left
	}
	return v.left, nil
}
