package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"mxhook/sinks/stream"
)

// Options configures one sink.
type Options struct {
	// Brokers are those that are asked first, "host:port"; they name the others.
	Brokers []string
	// Topic and Key are templates (pipeline.Template) of where a record goes, and of its key; no Key is none, and then records are
	// spread over the partitions.
	Topic, Key string
	// Compression is "none", "gzip", "snappy" (the default), "lz4" or "zstd".
	Compression string
	// MaxMessageBytes bounds records, in octets with their header, before compression (default 1,000,000).
	MaxMessageBytes int64

	// Mechanism is "" (no authentication), "plain", "scram-sha-256" or "scram-sha-512".
	Mechanism          string
	Username, Password string

	// ClearText is without TLS. CA are the authorities that the brokers' certificates must come from, PEM; "" are the
	// system's. Certificate and PrivateKey are ours, PEM, for brokers that want one.
	ClearText                   bool
	CA, Certificate, PrivateKey string

	// Control judges each address before it is dialled, as net.Dialer.Control; nil allows all.
	Control func(network, address string, c syscall.RawConn) error
	// Record is what is published; its LimitOption is set by New.
	Record stream.Options
}

// The values of Options.Mechanism.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

// Bounds and default of Options.MaxMessageBytes: records are made in memory. Brokers take 1,048,588 unless they are told
// otherwise.
const (
	MinMessageBytes     = 4 << 10
	DefaultMessageBytes = 1_000_000
	MaxMessageBytes     = 64 << 20
)

const (
	maxBrokers     = 64
	connectWithin  = 10 * time.Second
	answerWithin   = 10 * time.Second
	overheadWithin = 5 * time.Second
)

// Compressions are the values of Options.Compression.
func Compressions() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

func (o Options) codec() (kgo.CompressionCodec, error) {
	switch o.Compression {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "", "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("compression: %q is unknown; use one of %s", o.Compression, strings.Join(Compressions(), ", "))
}

func (o Options) brokers() error {
	if len(o.Brokers) == 0 {
		return errors.New(`brokers is missing: set it to some of the cluster, ["kafka.example.com:9093"]`)
	}
	if len(o.Brokers) > maxBrokers {
		return fmt.Errorf("brokers: there are %d, at most %d; some are enough, they name the others", len(o.Brokers), maxBrokers)
	}
	for _, b := range o.Brokers {
		host, port, err := net.SplitHostPort(b)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 || strings.ContainsAny(host, "/@ \t") {
			return fmt.Errorf("brokers: %q is no address: write host:port", b)
		}
	}
	return nil
}

func (o Options) mechanism() (sasl.Mechanism, error) {
	if o.Mechanism == "" {
		if o.Username != "" || o.Password != "" {
			return nil, errors.New("sasl.mechanism is missing: write plain, scram-sha-256 or scram-sha-512, as the brokers have it")
		}
		return nil, nil
	}
	if o.Username == "" || o.Password == "" {
		return nil, errors.New("sasl.username and sasl.password belong to the mechanism: set both")
	}
	auth := scram.Auth{User: o.Username, Pass: o.Password}
	switch o.Mechanism {
	case Plain:
		return plain.Auth{User: o.Username, Pass: o.Password}.AsMechanism(), nil
	case ScramSHA256:
		return auth.AsSha256Mechanism(), nil
	case ScramSHA512:
		return auth.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q is unknown; use plain, scram-sha-256 or scram-sha-512", o.Mechanism)
}

func (o Options) secure() (*tls.Config, error) {
	if o.ClearText {
		if o.CA != "" || o.Certificate != "" || o.PrivateKey != "" {
			return nil, errors.New("tls.enabled is false, and there are certificates: remove one")
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("tls.ca has no certificate: give PEM, or file:/path of it")
		}
	}
	if o.Certificate != "" || o.PrivateKey != "" {
		pair, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.PrivateKey))
		if err != nil {
			return nil, errors.New("tls.certificate and tls.key are no pair: give both as PEM, the key without a password")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// client returns the options of the client. Within an attempt it tries twice what has certainly not been written, and what may have
// been until it knows, under the same sequence number: that is the part of retrying that only it can do without doubling.
func (o Options) client() ([]kgo.Opt, error) {
	if err := o.brokers(); err != nil {
		return nil, err
	}
	codec, err := o.codec()
	if err != nil {
		return nil, err
	}
	mechanism, err := o.mechanism()
	if err != nil {
		return nil, err
	}
	secured, err := o.secure()
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ClientID("mxhook"), kgo.SoftwareNameAndVersion("mxhook", "1"), kgo.DisableClientMetrics(),
		kgo.Dialer(dialer(o.Control, secured)),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(int32(o.MaxMessageBytes)),
		kgo.ProducerLinger(0), kgo.ProduceRequestTimeout(answerWithin), kgo.RequestTimeoutOverhead(overheadWithin), kgo.RetryTimeout(connectWithin),
		// An attempt that is over must not leave a record behind that is written later.
		kgo.AllowIdempotentProduceCancellation(), kgo.RecordRetries(1), kgo.RequestRetries(1), kgo.UnknownTopicRetries(0), kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// dialer connects to brokers, those that other brokers name too.
func dialer(control func(string, string, syscall.RawConn) error, secured *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	d := &net.Dialer{Timeout: connectWithin, KeepAlive: 15 * time.Second, Control: control}
	if secured == nil {
		return d.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, connectWithin)
		defer cancel()
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := secured.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
		t := tls.Client(c, config)
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, fmt.Errorf("TLS with %s (has it TLS on that port?): %w", address, err)
		}
		return t, nil
	}
}
