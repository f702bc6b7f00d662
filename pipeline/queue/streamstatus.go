package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamStatus is one stream as the server has it.
type StreamStatus struct {
	Name     string
	Messages uint64
	// Bytes are those on the server's disk, for one replica.
	Bytes       uint64
	First, Last time.Time
	Replicas    int
	// Lagging are the replicas that are not up to date.
	Lagging int
}

// Streams returns all streams of the queue, and how many messages are kept in them.
func (q *Queue) Streams(ctx context.Context) (streams []StreamStatus, kept int64, err error) {
	l, err := q.current()
	if err != nil {
		return nil, 0, fmt.Errorf("look at the streams: %w", err)
	}
	add := func(s jetstream.Stream, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
		info, err := s.Info(ctx, opts...)
		if err != nil {
			return nil, fmt.Errorf("look at the streams: %w", err)
		}
		st := StreamStatus{
			Name: info.Config.Name, Messages: info.State.Msgs, Bytes: info.State.Bytes, Replicas: info.Config.Replicas,
		}
		if st.Messages > 0 {
			st.First, st.Last = info.State.FirstTime, info.State.LastTime
		}
		if info.Cluster != nil {
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					st.Lagging++
				}
			}
		}
		streams = append(streams, st)
		return info, nil
	}
	for k, s := range l.mail() {
		info, err := add(s, jetstream.WithSubjectFilter(heads(k)))
		if err != nil {
			return nil, 0, err
		}
		kept += int64(info.State.Subjects[mailIn(k)] + info.State.Subjects[mailKept(k)])
	}
	for _, s := range append(append([]jetstream.Stream(nil), l.delivery...), l.dead, l.log) {
		if _, err := add(s); err != nil {
			return nil, 0, err
		}
	}
	return streams, kept, nil
}
