package webhook

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"mxhook/pipeline"
)

// cloudEvents is a CloudEvent 1.0 in structured JSON, whose data is that of the payload.
type cloudEvents struct{ payload PayloadOptions }

// cloudEvent has the attributes of a CloudEvent (CloudEvents 1.0.2 3.1). Source and ID together name the delivery: they
// are the same at every attempt.
type cloudEvent struct {
	SpecVersion     string       `json:"specversion"`
	ID              string       `json:"id"`
	Source          string       `json:"source"`
	Type            string       `json:"type"`
	Subject         string       `json:"subject,omitempty"`
	Time            string       `json:"time"`
	DataContentType string       `json:"datacontenttype"`
	Data            *payloadData `json:"data"`
}

// compose implements format.
func (f cloudEvents) compose(_ context.Context, d *pipeline.Delivery, _ time.Time) (*content, error) {
	p := newPayload(d, f.payload)
	source := url.URL{Scheme: "mxhook", Host: d.Message.Envelope.Hostname, Path: "/" + d.Sink}
	b, err := p.body(cloudEvent{
		SpecVersion: "1.0", ID: d.ID, Source: source.String(), Type: p.Type, Subject: p.Data.ID, Time: p.Timestamp,
		DataContentType: "application/json", Data: &p.Data,
	})
	if err != nil {
		return nil, err
	}
	return &content{header: http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}, open: b.open, size: b.size, whole: b.whole()}, nil
}
