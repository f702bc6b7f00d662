// Package configs is the configuration: its type, how a file becomes one, everything that can be wrong with it, and,
// beside the code, the annotated mxhook.yaml and the examples.
package configs

import (
	"runtime"
	"time"

	"mxhook/ingest"
	"mxhook/pipeline"
	"mxhook/rules"
	"mxhook/sinks"
	"mxhook/sinks/file"
)

// Config is one configuration. Nobody changes it after Load; a reload makes another one. What each key means stands in
// mxhook.yaml.
type Config struct {
	// Include are further files; what they hold is in the other fields.
	Include []string `yaml:"include"`
	DataDir string   `yaml:"data_dir"`
	SMTP    SMTP     `yaml:"smtp"`
	Domains []Domain `yaml:"domains"`
	DNS     DNS      `yaml:"dns"`
	Auth    Auth     `yaml:"auth"`
	// AllowExec lets sinks of the kind exec run programs.
	AllowExec   bool        `yaml:"allow_exec"`
	Sinks       []Sink      `yaml:"sinks"`
	Lists       []List      `yaml:"lists"`
	Rules       []Rule      `yaml:"rules"`
	Default     []string    `yaml:"default"`
	Signed      []Signed    `yaml:"signed_addresses"`
	Tests       []Test      `yaml:"tests"`
	Queue       Queue       `yaml:"queue"`
	DeadLetters DeadLetters `yaml:"dead_letters"`
	Links       Links       `yaml:"links"`
	Limits      Limits      `yaml:"limits"`
	Ops         Ops         `yaml:"ops"`
	Log         Log         `yaml:"log"`
	Alerts      Alerts      `yaml:"alerts"`

	// whens has where each rule's condition stands, by index.
	whens []when
	// lists are Lists with what their files hold.
	lists []rules.List
	// files are all files that the configuration was read from: itself, lists, secrets.
	files []string
	// origins are where values came from, for Show.
	origins origins
}

// SMTP is the front end.
type SMTP struct {
	Hostname  string       `yaml:"hostname"`
	Listeners []Listener   `yaml:"listeners"`
	TLS       TLS          `yaml:"tls"`
	MTASTS    MTASTS       `yaml:"mta_sts"`
	Limits    SMTPLimits   `yaml:"limits"`
	Timeouts  SMTPTimeouts `yaml:"timeouts"`
	Policy    Policy       `yaml:"policy"`
}

// Listener is one address that mail is received on. Protocol is "smtp" or "lmtp"; TLS is "none", "starttls" or
// "implicit". ProxyNetworks are those of balancers that speak the PROXY protocol, XclientNetworks those of relays that may
// use XCLIENT.
type Listener struct {
	Name            string   `yaml:"name"`
	Address         string   `yaml:"address"`
	Protocol        string   `yaml:"protocol"`
	TLS             string   `yaml:"tls"`
	ProxyNetworks   []string `yaml:"proxy_networks"`
	XclientNetworks []string `yaml:"xclient_networks"`
}

// TLS is how sessions are encrypted. CertFile and KeyFile are the pair that clients get whose server name no certificate
// has; Certificates are further pairs. MinVersion is "1.0" to "1.3"; Ciphers, by their IANA names, are for TLS 1.2 and
// below, none meaning those that Go holds to be safe.
type TLS struct {
	CertFile     string        `yaml:"cert_file"`
	KeyFile      string        `yaml:"key_file"`
	Certificates []Certificate `yaml:"certificates"`
	MinVersion   string        `yaml:"min_version"`
	Ciphers      []string      `yaml:"ciphers"`
	ACME         ACME          `yaml:"acme"`
}

// ACME gets certificates for Domains, which none means off, from the authority behind Directory (RFC 8555). Challenge is
// "http-01" or "tls-alpn-01"; Address "" is the port that the authority asks at; Storage "" is DataDir/acme. CAFile is
// what an authority of one's own is trusted by.
type ACME struct {
	Directory string   `yaml:"directory_url"`
	Email     string   `yaml:"email"`
	Domains   []string `yaml:"domains"`
	Storage   string   `yaml:"storage"`
	Challenge string   `yaml:"challenge"`
	Address   string   `yaml:"address"`
	CAFile    string   `yaml:"ca_file"`
}

// Certificate names the files of a certificate chain and its key, PEM.
type Certificate struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// SMTPLimits bound what clients may ask for. Those from ConnectionsPerNetwork on, but Errors and IdleCommands, are off
// when they are 0.
type SMTPLimits struct {
	MessageSize           Size `yaml:"message_size"`
	Recipients            int  `yaml:"recipients"`
	Connections           int  `yaml:"connections"`
	ConnectionsPerIP      int  `yaml:"connections_per_ip"`
	ConnectionsPerNetwork int  `yaml:"connections_per_network"`
	ConnectionsPerMinute  int  `yaml:"connections_per_minute"`
	MessagesPerMinute     int  `yaml:"messages_per_minute"`
	RecipientsPerMinute   int  `yaml:"recipients_per_minute"`
	Errors                int  `yaml:"errors"`
	IdleCommands          int  `yaml:"idle_commands"`
	UnknownRecipients     int  `yaml:"unknown_recipients"`
	Transactions          int  `yaml:"transactions"`
	Waiting               int  `yaml:"waiting"`
	MinRate               Size `yaml:"min_rate"`
}

// SMTPTimeouts bound how long clients may take.
type SMTPTimeouts struct {
	GreetDelay Duration `yaml:"greet_delay"`
	Proxy      Duration `yaml:"proxy"`
	Handshake  Duration `yaml:"handshake"`
	Command    Duration `yaml:"command"`
	Data       Duration `yaml:"data"`
	Transfer   Duration `yaml:"transfer"`
	Write      Duration `yaml:"write"`
	Session    Duration `yaml:"session"`
}

// Domain is a domain that mail is taken for. DMARC is "accept" or "reject".
type Domain struct {
	Domain         string   `yaml:"domain"`
	Recipients     []string `yaml:"recipients"`
	TagSeparator   string   `yaml:"tag_separator"`
	CaseSensitive  bool     `yaml:"case_sensitive"`
	Blocked        []string `yaml:"blocked"`
	RecipientsFile string   `yaml:"recipients_file"`
	Callout        Callout  `yaml:"callout"`
	Quota          int      `yaml:"quota"`
	Guard          Guard    `yaml:"guard"`
	DMARC          string   `yaml:"dmarc"`
}

// What Domain.DMARC says: whether a policy of reject is honoured.
const (
	DMARCAccept = "accept"
	DMARCReject = "reject"
)

// DNS is how names are resolved; no Servers means those of the system. Validating: they validate DNSSEC and are trusted.
type DNS struct {
	Servers    []string `yaml:"servers"`
	Timeout    Duration `yaml:"timeout"`
	Validating bool     `yaml:"validating"`
}

// Sink is one destination. Exactly one of its kinds is set.
type Sink struct {
	Name              string    `yaml:"name"`
	Concurrency       int       `yaml:"concurrency"`
	Rate              string    `yaml:"rate"`
	Timeout           Duration  `yaml:"timeout"`
	Retry             Retry     `yaml:"retry"`
	PermanentStatuses []int     `yaml:"permanent_statuses"`
	Webhook           *Webhook  `yaml:"webhook"`
	File              *File     `yaml:"file"`
	S3                *S3       `yaml:"s3"`
	Postgres          *Postgres `yaml:"postgres"`
	Relay             *Relay    `yaml:"relay"`
	NATS              *NATS     `yaml:"nats"`
	Kafka             *Kafka    `yaml:"kafka"`
	Exec              *Exec     `yaml:"exec"`
}

// Retry is the schedule of a sink.
type Retry struct {
	Steps  []Duration `yaml:"steps"`
	Every  Duration   `yaml:"every"`
	MaxAge Duration   `yaml:"max_age"`
	Jitter float64    `yaml:"jitter"`
}

// Webhook is an HTTP endpoint. After Load, Secrets holds Secret too, and Sink.Timeout the Timeout that is set here.
type Webhook struct {
	Format          string      `yaml:"format"`
	Compat          Compat      `yaml:"compat"`
	URL             string      `yaml:"url" template:"yes"`
	Secret          Secret      `yaml:"secret"`
	Secrets         []Secret    `yaml:"secrets"`
	OldSecrets      []OldSecret `yaml:"old_secrets"`
	Auth            ClientAuth  `yaml:"auth"`
	TLS             ClientTLS   `yaml:"tls"`
	Proxy           Secret      `yaml:"proxy"`
	OnStatus        []OnStatus  `yaml:"on_status"`
	Timeout         Duration    `yaml:"timeout"`
	Headers         []Header    `yaml:"headers"`
	AllowPrivate    bool        `yaml:"allow_private"`
	AllowNetworks   []string    `yaml:"allow_networks"`
	Raw             bool        `yaml:"raw"`
	OmitAttachments bool        `yaml:"omit_attachments"`
	// InlineLimit is the size above which the octets of an attachment or the raw mail are left out; 0 is no limit.
	InlineLimit Size `yaml:"inline_limit"`
	Reply       bool `yaml:"reply"`
	// Shape is a program that makes the body, ShapeType the media type of what it makes.
	Shape     Program `yaml:"shape" references:"no"`
	ShapeType string  `yaml:"shape_type"`
}

// Header is a header field of requests. Its value is often a credential.
type Header struct {
	Name  string `yaml:"name"`
	Value Secret `yaml:"value" template:"yes"`
}

// File is a folder; Layout is "maildir" or "eml". Dir and Name are templates; Name "" is the delivery id.
type File struct {
	Dir    string `yaml:"dir" template:"yes"`
	Layout string `yaml:"layout"`
	Name   string `yaml:"name" template:"yes"`
}

// Queue is where messages are kept. URL "" is the embedded queue; Durability "" is fsync for it and replicated for an
// external one.
type Queue struct {
	URL         string   `yaml:"url"`
	Credentials string   `yaml:"credentials"`
	Replicas    int      `yaml:"replicas"`
	Durability  string   `yaml:"durability"`
	Retention   Duration `yaml:"retention"`
	Reserve     Size     `yaml:"reserve"`
	Inline      Size     `yaml:"inline"`
	Shards      int      `yaml:"shards"`
	// EncryptionKey encrypts the embedded store; Compression is "none" or "s2"; DedupeWindow 0 is off.
	EncryptionKey Secret   `yaml:"encryption_key"`
	Compression   string   `yaml:"compression"`
	DedupeWindow  Duration `yaml:"dedupe_window"`
}

// DeadLetters is how long deliveries that were given up are kept.
type DeadLetters struct {
	Keep Duration `yaml:"keep"`
}

// Limits bound this process. Workers 0 is chosen by the number of processors.
type Limits struct {
	Memory   Size     `yaml:"memory"`
	Workers  int      `yaml:"workers"`
	Shutdown Duration `yaml:"shutdown"`
}

// Ops is the address of health, metrics, console and API. Token is asked for by console and API; "" asks for none.
type Ops struct {
	Address string `yaml:"address"`
	Token   Secret `yaml:"token"`
}

// Log is level (debug, info, warn, error) and format (text, json) of the log.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

const day = 24 * time.Hour

// letsEncrypt is the directory of the authority that gives certificates to everybody.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Default returns the configuration of an empty file. It lacks domains, sinks and rules.
func Default() Config {
	return Config{
		DataDir: "mxhook-data",
		SMTP: SMTP{
			Hostname:  "localhost",
			Listeners: []Listener{defaultListener("mx", ":25")},
			TLS:       TLS{MinVersion: "1.2", ACME: ACME{Directory: letsEncrypt, Challenge: ChallengeHTTP}},
			MTASTS:    MTASTS{MaxAge: Duration(7 * day)},
			Limits: SMTPLimits{
				MessageSize: 50 * megabyte, Recipients: 100, Connections: 5000, ConnectionsPerIP: 100, ConnectionsPerNetwork: 1000,
				Errors: 20, IdleCommands: 100, UnknownRecipients: 20, Transactions: 1000, Waiting: 1000, MinRate: 100,
			},
			Timeouts: SMTPTimeouts{
				Proxy: Duration(10 * time.Second), Handshake: Duration(30 * time.Second), Command: Duration(5 * time.Minute),
				Data: Duration(3 * time.Minute), Transfer: Duration(time.Hour), Write: Duration(time.Minute), Session: Duration(12 * time.Hour),
			},
			Policy: defaultPolicy(),
		},
		DNS:         DNS{Timeout: Duration(5 * time.Second)},
		Queue:       Queue{Replicas: 3, Retention: Duration(8 * day), Reserve: gigabyte, Inline: 512 * kibibyte, Compression: "none"},
		DeadLetters: DeadLetters{Keep: Duration(30 * day)},
		Links:       Links{Path: "/content/", Valid: Duration(3 * day)},
		Limits:      Limits{Memory: 256 * megabyte, Shutdown: Duration(25 * time.Second)},
		Ops:         Ops{Address: "127.0.0.1:8025"},
		Log:         Log{Level: "info", Format: "text"},
		Alerts:      Alerts{Interval: Duration(time.Minute)},
	}
}

func defaultListener(name, address string) Listener {
	return Listener{Name: name, Address: address, Protocol: "smtp", TLS: "none"}
}

// DefaultSink returns a sink with everything that has a default; it lacks name and kind.
func DefaultSink() Sink {
	s := pipeline.DefaultSchedule()
	r := Retry{Every: Duration(s.Every), MaxAge: Duration(s.MaxAge), Jitter: s.Jitter}
	for _, step := range s.Steps {
		r.Steps = append(r.Steps, Duration(step))
	}
	return Sink{Concurrency: sinks.DefaultConcurrency, Timeout: Duration(sinks.DefaultTimeout), Retry: r}
}

// defaulted is what a list element or a kind of sink starts from.
func (Sink) defaulted() any     { return DefaultSink() }
func (Listener) defaulted() any { return defaultListener("", "") }
func (File) defaulted() any     { return File{Layout: file.Maildir} }
func (Relay) defaulted() any    { return defaultRelay() }
func (Domain) defaulted() any   { return defaultDomain() }

// Schedule is the retry clock of the sink.
func (s *Sink) Schedule() pipeline.Schedule {
	out := pipeline.Schedule{Every: time.Duration(s.Retry.Every), MaxAge: time.Duration(s.Retry.MaxAge), Jitter: s.Retry.Jitter}
	for _, step := range s.Retry.Steps {
		out.Steps = append(out.Steps, time.Duration(step))
	}
	return out
}

// IngestDomains returns the domains as the front end takes them.
func (c *Config) IngestDomains() []ingest.Domain {
	ds := make([]ingest.Domain, len(c.Domains))
	for i, d := range c.Domains {
		ds[i] = d.ingest()
	}
	return ds
}

// Workers is the number of messages that are processed side by side: limits.workers, or four for each processor.
func (c *Config) Workers() int {
	if c.Limits.Workers > 0 {
		return c.Limits.Workers
	}
	return 4 * runtime.GOMAXPROCS(0)
}

// ShutdownTimeout is how long a stop waits for what is under way.
func (c *Config) ShutdownTimeout() time.Duration { return time.Duration(c.Limits.Shutdown) }
