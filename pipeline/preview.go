package pipeline

import "context"

// Previewer is a sink that can show what it would send, where that is not what the configuration says by itself.
type Previewer interface {
	// Preview returns a text for people; "" where there is nothing to show. An error says why the delivery would fail.
	Preview(ctx context.Context, d *Delivery) (string, error)
}
