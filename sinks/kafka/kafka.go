// Package kafka is the sink that produces deliveries to topics of a Kafka cluster.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"mxhook/pipeline"
	"mxhook/sinks/stream"
)

// Kafka is a pipeline.Sink with one cluster. Safe for concurrent use. It keeps connections until Close.
//
// A delivery is a record. Within an attempt the idempotent producer sees to it that it is written once; a repeat in a
// later attempt is another record with the same delivery id.
type Kafka struct {
	topic, key *pipeline.Template
	max        int64
	composer   *stream.Composer
	client     shared
	redactor   *strings.Replacer
}

// New checks the options and returns the sink; it does not connect.
func New(o Options) (*Kafka, error) {
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = DefaultMessageBytes
	}
	if o.MaxMessageBytes < MinMessageBytes || o.MaxMessageBytes > MaxMessageBytes {
		return nil, fmt.Errorf("max_message_bytes: %d: set it to %d to %d", o.MaxMessageBytes, MinMessageBytes, MaxMessageBytes)
	}
	k := &Kafka{max: o.MaxMessageBytes}
	var err error
	if k.client.opts, err = o.client(); err != nil {
		return nil, err
	}
	if o.Topic == "" {
		return nil, errors.New("topic is missing: set it to what to produce to, like mail")
	}
	if k.topic, err = pipeline.ParseTemplate(o.Topic, pipeline.InTopic); err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	if k.key, err = pipeline.ParseTemplate(o.Key, pipeline.InKey); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	o.Record.LimitOption = "max_message_bytes"
	if k.composer, err = stream.New(o.Record); err != nil {
		return nil, err
	}
	if err := kgo.ValidateOpts(k.client.opts...); err != nil {
		return nil, err
	}
	var pairs []string
	if len(o.Password) >= 4 {
		pairs = append(pairs, o.Password, "[redacted]")
	}
	k.redactor = strings.NewReplacer(pairs...)
	return k, nil
}

// Templates implements pipeline.Templated.
func (k *Kafka) Templates() []pipeline.TemplateOption {
	return append([]pipeline.TemplateOption{{Option: "topic", Template: k.topic}, {Option: "key", Template: k.key}}, k.composer.Templates()...)
}

// Close closes the connections, after the attempts under way. One that begins afterwards all the same, because its message
// was routed before, has a connection of its own.
func (k *Kafka) Close() error {
	k.client.close()
	return nil
}

// Deliver implements pipeline.Sink. When it returns nil all replicas that are in sync have the record.
func (k *Kafka) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("produce: %w", err)
	}
	record, err := k.record(d)
	if err != nil {
		return pipeline.Response{}, pipeline.Permanent(fmt.Errorf("produce to %s: %w", record.Topic, err))
	}
	c, err := k.client.acquire()
	if err != nil {
		return pipeline.Response{}, k.told(record.Topic, err)
	}
	defer k.client.release(c)
	done := make(chan error, 1)
	c.Produce(ctx, record, func(_ *kgo.Record, err error) { done <- err })
	select {
	case err = <-done:
	case <-ctx.Done():
		// The client gives the record up too, when it comes to look at it: a broker that hangs has up to 15 seconds.
		select {
		case err = <-done:
		default:
			err = ctx.Err()
		}
	}
	if noTopic(err) { // the client would ask for the names that mails have made up for ever
		c.PurgeTopicsFromProducing(record.Topic)
	}
	if err != nil {
		return pipeline.Response{}, k.judge(ctx, record.Topic, err, c.trouble.last())
	}
	return pipeline.Response{Status: "stored", Detail: fmt.Sprintf("topic %s, partition %d, offset %d", record.Topic, record.Partition, record.Offset)}, nil
}

// reserve is what a batch and a record have besides key, value and header.
const reserve = 128

// record is the delivery as it is produced; with an error it has the topic only.
func (k *Kafka) record(d *pipeline.Delivery) (*kgo.Record, error) {
	r := &kgo.Record{Topic: k.topic.Expand(d)}
	if key := k.key.Expand(d); key != "" {
		r.Key = []byte(key)
	}
	content, err := k.composer.Compose(d, k.max-int64(len(r.Key))-reserve)
	if err != nil {
		return r, err
	}
	r.Value = content.Body
	for _, f := range content.Header {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: f.Name, Value: []byte(f.Value)})
	}
	return r, nil
}

// judge says what an error means. What brokers have against the record itself stays so. All else, wrong credentials and a
// missing topic too, is cured at the cluster, and the deliveries wait until it is.
func (k *Kafka) judge(ctx context.Context, topic string, err, trouble error) error {
	switch {
	case ctx.Err() != nil && trouble != nil:
		return fmt.Errorf("%w: %w", k.told(topic, trouble), ctx.Err())
	case ctx.Err() != nil:
		return fmt.Errorf("produce to %s: no answer: %w", topic, ctx.Err())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return k.told(topic, errors.New("it was given up together with another delivery of the same batch"))
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return pipeline.Permanent(k.told(topic, fmt.Errorf("%w; set max_message_bytes to the topic's max.message.bytes, and such mails go out with links", err)))
	case errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTopicException):
		return pipeline.Permanent(k.told(topic, err))
	case unknownTopic(err):
		return k.told(topic, fmt.Errorf("the topic does not exist, or this user may not see it; create it, and the deliveries that wait go there: %w", err))
	case refused(err):
		return k.told(topic, fmt.Errorf("%w; correct sasl, or what the user may do", err))
	case trouble != nil && (refused(trouble) || errors.Is(trouble, io.EOF)):
		return k.told(topic, fmt.Errorf("the broker ends the connection; correct sasl, or tls.enabled: %w", trouble))
	case trouble != nil:
		return k.told(topic, trouble)
	}
	return k.told(topic, err)
}

// noTopic reports that a topic is none for this user.
func noTopic(err error) bool {
	return unknownTopic(err) || errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.InvalidTopicException)
}

func unknownTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}

// refused reports that a broker knows us, or does not want to.
func refused(err error) bool {
	for _, e := range []error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// told has a text without secrets, bounded and valid.
func (k *Kafka) told(topic string, err error) error {
	text := strings.ToValidUTF8(k.redactor.Replace(err.Error()), "\uFFFD")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return &toldError{"produce to " + topic + ": " + text, err}
}

type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }
