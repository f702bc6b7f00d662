package sinks

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"mxhook/pipeline"
	"mxhook/sinks/exec"
	"mxhook/sinks/file"
	"mxhook/sinks/postgres"
	"mxhook/sinks/s3"
	"mxhook/sinks/webhook"
)

// kind is one kind of sink: its key in the configuration, whether a Config is of it, and how it is made. A new kind is
// a field of Config and a line in kinds.
type kind struct {
	key string
	is  func(Config) bool
	new func(builder, Config) (pipeline.Sink, error)
}

func kinds() []kind {
	return []kind{
		{"webhook", func(c Config) bool { return c.Webhook != nil }, builder.webhook},
		{"file", func(c Config) bool { return c.File != nil }, builder.file},
		{"s3", func(c Config) bool { return c.S3 != nil }, builder.s3},
		{"postgres", func(c Config) bool { return c.Postgres != nil }, builder.postgres},
		{"relay", func(c Config) bool { return c.Relay != nil }, builder.relay},
		{"nats", func(c Config) bool { return c.NATS != nil }, builder.nats},
		{"kafka", func(c Config) bool { return c.Kafka != nil }, builder.kafka},
		{"exec", func(c Config) bool { return c.Exec != nil }, builder.exec},
	}
}

// builder makes sinks out of configurations and what they share.
type builder struct {
	deps    Deps
	metrics *webhook.Metrics
	slots   webhook.Slots
}

// build makes the outlet of one configuration.
func (b builder) build(c Config) (pipeline.Outlet, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return pipeline.Outlet{}, err
	}
	k, err := kindOf(c)
	if err != nil {
		return pipeline.Outlet{}, err
	}
	sink, err := k.new(b, c)
	if err != nil {
		return pipeline.Outlet{}, fmt.Errorf("%s: %w", k.key, err)
	}
	return pipeline.Outlet{Name: c.Name, Sink: sink, Concurrency: c.Concurrency, Rate: c.Rate, Timeout: c.Timeout, Schedule: c.Schedule}, nil
}

// Kinds are the keys of the kinds that are set; it should be one.
func (c Config) Kinds() []string {
	var set []string
	for _, k := range kinds() {
		if k.is(c) {
			set = append(set, k.key)
		}
	}
	return set
}

func kindOf(c Config) (kind, error) {
	set := c.Kinds()
	if len(set) > 1 {
		return kind{}, fmt.Errorf("is of more than one kind (%s): make a sink of each", strings.Join(set, ", "))
	}
	var all []string
	for _, k := range kinds() {
		if k.is(c) {
			return k, nil
		}
		all = append(all, k.key)
	}
	return kind{}, errors.New("has no kind: add one of " + strings.Join(all, ", "))
}

func (b builder) webhook(c Config) (pipeline.Sink, error) {
	o := *c.Webhook
	o.Sink, o.Concurrency, o.Version, o.Now, o.Metrics = c.Name, c.Concurrency, b.deps.Version, b.deps.Now, b.metrics
	o.Link, o.Slots = b.deps.Link, b.slots
	return webhook.New(o)
}

// file hands the webhook's payload to the file kind, which must not know of it. The attachments are in the mail beside
// it.
func (b builder) file(c Config) (pipeline.Sink, error) {
	o := *c.File
	o.Now = b.deps.Now
	o.Encode = func(w io.Writer, d *pipeline.Delivery) error {
		return webhook.EncodePayload(w, d, webhook.PayloadOptions{Reply: true, OmitAttachments: "in the .eml file of the same name"})
	}
	return file.New(o)
}

// s3 hands the webhook's payload and its judgement of addresses to the kind.
func (b builder) s3(c Config) (pipeline.Sink, error) {
	o := *c.S3
	o.Concurrency = c.Concurrency
	o.Payload = func(d *pipeline.Delivery, link func(part string) string) (int64, func() io.Reader, error) {
		po := webhook.PayloadOptions{Reply: true, LinkAll: true, Link: func(_ *pipeline.Message, part string) string { return link(part) }}
		if o.OmitAttachments {
			po.OmitAttachments = "in the .eml object of the same name"
		}
		return webhook.OpenPayload(d, po)
	}
	return s3.New(o)
}

// postgres hands the webhook's payload to the kind.
func (b builder) postgres(c Config) (pipeline.Sink, error) {
	o := *c.Postgres
	o.Concurrency = c.Concurrency
	o.Encode = func(w io.Writer, d *pipeline.Delivery) error {
		return webhook.EncodePayload(w, d, webhook.PayloadOptions{Reply: true, OmitAttachments: "in the table attachments"})
	}
	return postgres.New(o)
}

// exec hands the webhook's payload to the kind, attachments included: a program has no other place to find them decoded.
func (b builder) exec(c Config) (pipeline.Sink, error) {
	o := *c.Exec
	o.Encode = func(w io.Writer, d *pipeline.Delivery) error {
		return webhook.EncodePayload(w, d, webhook.PayloadOptions{Reply: true})
	}
	return exec.New(o)
}
