package sinks

import (
	"io"

	"mxhook/pipeline"
	"mxhook/sinks/kafka"
	"mxhook/sinks/nats"
	"mxhook/sinks/stream"
	"mxhook/sinks/webhook"
)

func (b builder) nats(c Config) (pipeline.Sink, error) {
	o := *c.NATS
	o.Concurrency = c.Concurrency
	o.Record = b.record(o.Record)
	return nats.New(o)
}

func (b builder) kafka(c Config) (pipeline.Sink, error) {
	o := *c.Kafka
	o.Record = b.record(o.Record)
	return kafka.New(o)
}

// record hands the webhook's payload to the kinds that publish to streams, and with it the links for what is too large.
func (b builder) record(o stream.Options) stream.Options {
	whole := webhook.PayloadOptions{Raw: o.WithRaw, Reply: o.WithReply}
	if o.OmitAttachments {
		whole.OmitAttachments = "left out by the sink's configuration"
	}
	linked := whole
	linked.Raw, linked.LinkAll, linked.Link = true, true, b.deps.Link
	o.Linked, o.RawHeader = b.deps.Link != nil, webhook.RawHeader
	o.Payload = func(d *pipeline.Delivery, withLinks bool) (int64, func() io.Reader, error) {
		if withLinks {
			return webhook.OpenPayload(d, linked)
		}
		return webhook.OpenPayload(d, whole)
	}
	return o
}
