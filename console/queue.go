package console

import (
	"context"
	"net/http"
	"time"
)

// QueueStatus is the queue as the API shows it. Times are null where there is nothing, sizes in bytes.
type QueueStatus struct {
	Durability  string        `json:"durability"`
	External    bool          `json:"external"`
	Server      string        `json:"server"`
	Replicas    int           `json:"replicas"`
	Encrypted   bool          `json:"encrypted"`
	SyncLatency time.Duration `json:"sync_latency_ns"`
	// Messages are those that are not settled, Kept all that are stored, DeadLetters those given up.
	Messages    int64 `json:"messages_waiting"`
	Kept        int64 `json:"messages_kept"`
	DeadLetters int64 `json:"dead_letters"`
	// Sinks have the deliveries that wait, by name.
	Sinks map[string]Backlog `json:"sinks"`
	// OldestMessage and OldestDelivery are ages in seconds; 0 when nothing waits.
	OldestMessage  float64 `json:"oldest_message_seconds"`
	OldestDelivery float64 `json:"oldest_delivery_seconds"`
	StorageUsed    int64   `json:"storage_used"`
	StorageLimit   int64   `json:"storage_limit"`
	// StorageFree includes the reserve, which new mail may not use; -1 when the server does not tell.
	StorageFree    int64    `json:"storage_free"`
	StorageReserve int64    `json:"storage_reserve"`
	Streams        []Stream `json:"streams"`
}

// Backlog counts the deliveries that wait for a sink.
type Backlog struct {
	Due        int64 `json:"due"`
	Scheduled  int64 `json:"scheduled"`
	Configured bool  `json:"configured"`
}

// Stream is one stream of the queue.
type Stream struct {
	Name     string     `json:"name"`
	Messages uint64     `json:"messages"`
	Bytes    uint64     `json:"bytes"`
	First    *time.Time `json:"first"`
	Last     *time.Time `json:"last"`
	Replicas int        `json:"replicas"`
	Lagging  int        `json:"lagging"`
}

func (a *API) queueStatus(w http.ResponseWriter, r *http.Request) {
	st, err := a.opts.Store.QueueStatus(r.Context())
	if err != nil {
		a.failErr(w, r, err)
		return
	}
	for _, name := range a.opts.Sinks {
		b := st.Sinks[name]
		b.Configured = true
		st.Sinks[name] = b
	}
	reply(w, http.StatusOK, st)
}

// QueueStatus returns how the queue is.
func (c *Client) QueueStatus(ctx context.Context) (out QueueStatus, err error) {
	err = c.json(ctx, http.MethodGet, "/api/v1/queue", nil, &out)
	return out, err
}
