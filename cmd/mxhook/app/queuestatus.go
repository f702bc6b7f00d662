package app

import (
	"context"

	"mxhook/console"
)

// QueueStatus implements console.Store.
func (s store) QueueStatus(ctx context.Context) (console.QueueStatus, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return console.QueueStatus{}, err
	}
	streams, kept, err := s.Streams(ctx)
	if err != nil {
		return console.QueueStatus{}, err
	}
	out := console.QueueStatus{
		Durability: st.Durability, External: st.External, Server: st.Server, Replicas: st.Replicas, Encrypted: st.Encrypted, SyncLatency: st.SyncLatency,
		Messages: st.Messages, Kept: kept, DeadLetters: st.DeadLetters, Sinks: map[string]console.Backlog{},
		OldestMessage: st.OldestMessage.Seconds(), OldestDelivery: st.OldestDelivery.Seconds(),
		StorageUsed: st.StorageUsed, StorageLimit: st.StorageLimit, StorageFree: st.StorageFree, StorageReserve: st.StorageReserve,
	}
	for name, w := range st.Deliveries {
		out.Sinks[name] = console.Backlog{Due: w.Due, Scheduled: w.Scheduled}
	}
	for _, t := range streams {
		v := console.Stream{Name: t.Name, Messages: t.Messages, Bytes: t.Bytes, Replicas: t.Replicas, Lagging: t.Lagging}
		if !t.First.IsZero() {
			v.First, v.Last = &t.First, &t.Last
		}
		out.Streams = append(out.Streams, v)
	}
	return out, nil
}
