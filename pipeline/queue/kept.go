package queue

import (
	"context"
	"fmt"

	"mxhook/pipeline"
)

// Kept returns a message by its Ref, its octets checked, whether it is settled or not; pipeline.ErrNotFound when it is kept
// no longer. The octets are the caller's and do not count against Config.Memory: the caller bounds how many it holds.
func (q *Queue) Kept(ctx context.Context, ref string) (*pipeline.Message, error) {
	s, err := q.head(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read kept message: %w", err)
	}
	m, err := q.load(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("read kept message %s: %w", s.Envelope.ID, err)
	}
	return m, nil
}
