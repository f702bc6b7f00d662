package configs

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"mxhook/sinks/kafka"
	"mxhook/sinks/nats"
	"mxhook/sinks/stream"
	"mxhook/sinks/webhook"
)

// NATS is a NATS server or cluster, and the subject that mail is published to. Mode is "jetstream" or "core". MaxPayload 0 is
// what the server allows.
type NATS struct {
	URL             string    `yaml:"url"`
	Subject         string    `yaml:"subject"`
	Mode            string    `yaml:"mode"`
	Stream          string    `yaml:"stream"`
	Format          string    `yaml:"format"`
	Raw             bool      `yaml:"raw"`
	Reply           bool      `yaml:"reply"`
	OmitAttachments bool      `yaml:"omit_attachments"`
	Headers         []Header  `yaml:"headers"`
	MaxPayload      Size      `yaml:"max_payload"`
	InboxPrefix     string    `yaml:"inbox_prefix"`
	Credentials     Secret    `yaml:"credentials"`
	Token           Secret    `yaml:"token"`
	Username        string    `yaml:"username"`
	Password        Secret    `yaml:"password"`
	NKeySeed        Secret    `yaml:"nkey_seed"`
	TLS             StreamTLS `yaml:"tls"`
	AllowPrivate    bool      `yaml:"allow_private"`
	AllowNetworks   []string  `yaml:"allow_networks"`
}

// StreamTLS is ClientTLS, and First: TLS begins before the server has said anything.
type StreamTLS struct {
	CA          Secret `yaml:"ca"`
	Certificate Secret `yaml:"certificate"`
	Key         Secret `yaml:"key"`
	First       bool   `yaml:"first"`
}

// Kafka is a Kafka cluster, and the topic that mail is produced to.
type Kafka struct {
	Brokers         []string `yaml:"brokers"`
	Topic           string   `yaml:"topic"`
	Key             string   `yaml:"key"`
	Format          string   `yaml:"format"`
	Raw             bool     `yaml:"raw"`
	Reply           bool     `yaml:"reply"`
	OmitAttachments bool     `yaml:"omit_attachments"`
	Headers         []Header `yaml:"headers"`
	Compression     string   `yaml:"compression"`
	MaxMessageBytes Size     `yaml:"max_message_bytes"`
	SASL            SASL     `yaml:"sasl"`
	TLS             KafkaTLS `yaml:"tls"`
	AllowPrivate    bool     `yaml:"allow_private"`
	AllowNetworks   []string `yaml:"allow_networks"`
}

// SASL is who we are to brokers. Mechanism is "" (nobody), "plain", "scram-sha-256" or "scram-sha-512".
type SASL struct {
	Mechanism string `yaml:"mechanism"`
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"`
}

// KafkaTLS is ClientTLS, and whether there is TLS at all.
type KafkaTLS struct {
	Enabled     bool   `yaml:"enabled"`
	CA          Secret `yaml:"ca"`
	Certificate Secret `yaml:"certificate"`
	Key         Secret `yaml:"key"`
}

func (NATS) defaulted() any { return NATS{Mode: nats.JetStream, Format: stream.MXHook} }

func (Kafka) defaulted() any {
	return Kafka{
		Key: "{delivery}", Format: stream.MXHook, Compression: "snappy", MaxMessageBytes: kafka.DefaultMessageBytes, TLS: KafkaTLS{Enabled: true},
	}
}

func (n *NATS) options() *nats.Options {
	o := &nats.Options{
		URL: n.URL, Subject: n.Subject, Mode: n.Mode, Stream: n.Stream, MaxPayload: int64(n.MaxPayload), InboxPrefix: n.InboxPrefix,
		Credentials: n.Credentials.Reveal(), Token: n.Token.Reveal(), Username: n.Username, Password: n.Password.Reveal(), NKeySeed: n.NKeySeed.Reveal(),
		CA: n.TLS.CA.Reveal(), Certificate: n.TLS.Certificate.Reveal(), Key: n.TLS.Key.Reveal(), HandshakeFirst: n.TLS.First,
		Record: stream.Options{Format: n.Format, WithRaw: n.Raw, WithReply: n.Reply, OmitAttachments: n.OmitAttachments, Headers: streamHeaders(n.Headers)},
	}
	if !n.AllowPrivate {
		o.Control = webhook.DialControl(prefixes(n.AllowNetworks))
	}
	return o
}

func (k *Kafka) options() *kafka.Options {
	o := &kafka.Options{
		Brokers: k.Brokers, Topic: k.Topic, Key: k.Key, Compression: k.Compression, MaxMessageBytes: int64(k.MaxMessageBytes),
		Mechanism: k.SASL.Mechanism, Username: k.SASL.Username, Password: k.SASL.Password.Reveal(),
		ClearText: !k.TLS.Enabled, CA: k.TLS.CA.Reveal(), Certificate: k.TLS.Certificate.Reveal(), PrivateKey: k.TLS.Key.Reveal(),
		Record: stream.Options{Format: k.Format, WithRaw: k.Raw, WithReply: k.Reply, OmitAttachments: k.OmitAttachments, Headers: streamHeaders(k.Headers)},
	}
	if !k.AllowPrivate {
		o.Control = webhook.DialControl(prefixes(k.AllowNetworks))
	}
	return o
}

func streamHeaders(hs []Header) []stream.Header {
	var out []stream.Header
	for _, h := range hs {
		out = append(out, stream.Header{Name: h.Name, Value: h.Value.Reveal()})
	}
	return out
}

func (c *checker) nats(key string, n *NATS) {
	c.linksFor(key, "max_payload, or what the server allows,")
	c.prefixes(key+".allow_networks", n.AllowNetworks)
	c.guardedHosts(key+".url", natsHosts(n.URL), n.AllowPrivate, n.AllowNetworks)
	if strings.HasPrefix(strings.TrimSpace(n.URL), "nats://") && !n.AllowPrivate && len(n.AllowNetworks) == 0 {
		c.warn(key+".url", "unless the server insists on TLS, mail goes out in clear text; use tls://")
	}
	for _, o := range []struct {
		option string
		set    func(trial *NATS)
	}{
		{"url", func(trial *NATS) { trial.URL = n.URL }},
		{"subject", func(trial *NATS) { trial.Subject = n.Subject }},
		{"mode", func(trial *NATS) { trial.Mode = n.Mode }},
		{"stream", func(trial *NATS) { trial.Stream = n.Stream }},
		{"format", func(trial *NATS) { trial.Format = n.Format }},
		{"headers", func(trial *NATS) { trial.Headers = n.Headers }},
		{"max_payload", func(trial *NATS) { trial.MaxPayload = n.MaxPayload }},
		{"inbox_prefix", func(trial *NATS) { trial.InboxPrefix = n.InboxPrefix }},
		{"credentials", func(trial *NATS) { trial.Credentials = n.Credentials }},
		{"nkey_seed", func(trial *NATS) { trial.NKeySeed = n.NKeySeed }},
	} {
		trial := NATS{}.defaulted().(NATS)
		trial.URL, trial.Subject = "tls://nats.example.com", "mail"
		o.set(&trial)
		c.option(key, o.option, func(s *Sink) { s.NATS = &trial })
	}
}

// option tells what is wrong with one option of a sink: set makes a trial sink that has it and is right otherwise.
func (c *checker) option(key, option string, set func(trial *Sink)) {
	trial := DefaultSink()
	trial.Name = "trial"
	set(&trial)
	at := key + "." + option
	err := trySink(trial.config())
	if err == "" || c.broken(at, true) {
		return
	}
	if _, there := c.places[at]; !there {
		at = key
	} else {
		err = strings.TrimPrefix(err, option+": ")
	}
	c.add(at, "%s", err)
}

func natsHosts(text string) []string {
	var hosts []string
	for _, one := range strings.Split(text, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

func (c *checker) kafka(key string, k *Kafka) {
	c.linksFor(key, "max_message_bytes")
	c.prefixes(key+".allow_networks", k.AllowNetworks)
	var hosts []string
	for _, b := range k.Brokers {
		if host, _, err := net.SplitHostPort(b); err == nil {
			hosts = append(hosts, host)
		}
	}
	c.guardedHosts(key+".brokers", hosts, k.AllowPrivate, k.AllowNetworks)
	if !k.TLS.Enabled && !k.AllowPrivate && len(k.AllowNetworks) == 0 {
		c.warn(key+".tls.enabled", "mail goes out in clear text; remove the line")
	}
	if !k.TLS.Enabled && k.SASL.Mechanism == kafka.Plain {
		c.warn(key+".sasl.mechanism", "without TLS everybody on the way reads the password; use scram-sha-512, or TLS")
	}
	for _, o := range []struct {
		option string
		set    func(trial *Kafka)
	}{
		{"brokers", func(trial *Kafka) { trial.Brokers = k.Brokers }},
		{"topic", func(trial *Kafka) { trial.Topic = k.Topic }},
		{"key", func(trial *Kafka) { trial.Key = k.Key }},
		{"format", func(trial *Kafka) { trial.Format = k.Format }},
		{"headers", func(trial *Kafka) { trial.Headers = k.Headers }},
		{"compression", func(trial *Kafka) { trial.Compression = k.Compression }},
		{"max_message_bytes", func(trial *Kafka) { trial.MaxMessageBytes = k.MaxMessageBytes }},
		{"sasl", func(trial *Kafka) { trial.SASL = k.SASL }},
	} {
		trial := Kafka{}.defaulted().(Kafka)
		trial.Brokers, trial.Topic = []string{"kafka.example.com:9093"}, "mail"
		o.set(&trial)
		c.option(key, o.option, func(s *Sink) { s.Kafka = &trial })
	}
}

// linksFor warns of what becomes of large mail without links.
func (c *checker) linksFor(key, bound string) {
	if c.cfg.Links.BaseURL == "" {
		c.warn(key, "mail that is larger than %s will be dead letters; set links.base_url, and it goes out with links to its content", bound)
	}
}

// guardedHosts finds servers that the address guard would refuse, as far as that can be told without DNS.
func (c *checker) guardedHosts(key string, hosts []string, allowPrivate bool, networks []string) {
	if allowPrivate || len(networks) > 0 {
		return
	}
	guard := webhook.DialControl(nil)
	for _, h := range hosts {
		_, err := netip.ParseAddr(h)
		if h == "localhost" || err == nil && guard("tcp", net.JoinHostPort(h, "1"), nil) != nil {
			c.add(key, "%s is an internal address: set allow_private: true, or list it in allow_networks, if the server is meant to be there", h)
			return
		}
	}
}
