package nats

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"mxhook/pipeline"
	"mxhook/sinks/stream"
)

// Options configures one sink.
type Options struct {
	// URL is that of a server, or of several with commas between them: "tls://nats.example.com:4222". Behind "tls://" no server
	// is believed without a certificate; behind "nats://" there is TLS when the server asks for it.
	URL string
	// Subject is a template (pipeline.Template) of the subject to publish to.
	Subject string
	// Mode is JetStream (the default) or Core.
	Mode string
	// Stream is the one that must take the messages; "" is whichever has the subject.
	Stream string
	// MaxPayload bounds messages, in octets with their header; 0 is what the server allows.
	MaxPayload int64
	// InboxPrefix is what the subjects of acknowledgements begin with; "" is "_INBOX".
	InboxPrefix string

	// At most one of these is set: the content of a .creds file, a token, a user, and the seed of an nkey.
	Credentials, Token string
	Username, Password string
	NKeySeed           string

	// CA are the authorities that the server's certificate must come from, PEM; "" are the system's. Certificate and Key are
	// ours, PEM, for servers that want one. HandshakeFirst begins with TLS, before the server has said anything.
	CA, Certificate, Key string
	HandshakeFirst       bool

	// Control judges each address before it is dialled, as net.Dialer.Control; nil allows all.
	Control func(network, address string, c syscall.RawConn) error
	// Concurrency bounds the connections that are kept (default 16).
	Concurrency int
	// Record is what is published; its LimitOption is set by New.
	Record stream.Options
}

// The values of Options.Mode.
const (
	// JetStream: a delivery is made when a stream has stored it.
	JetStream = "jetstream"
	// Core: a delivery is made when the server has taken it and hands it to those who listen; nobody may.
	Core = "core"
)

// MaxPayload bounds Options.MaxPayload: messages are made in memory.
const MaxPayload = 64 << 20

const (
	minPayload    = 1 << 10
	connectWithin = 10 * time.Second
	defaultConns  = 16
)

// streamName is what servers take for one.
var streamName = regexp.MustCompile(`^[^\s.*>/\\]{1,255}$`)

// servers reads the URL. No error quotes it.
func (o Options) servers() ([]string, error) {
	if o.URL == "" {
		return nil, errors.New("url is missing: set it to that of the server, tls://nats.example.com:4222")
	}
	var all []string
	for i, text := range strings.Split(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls":
			return nil, fmt.Errorf("url: number %d is none of a NATS server: write tls://host:4222, or nats://host:4222", i+1)
		case u.User != nil:
			return nil, errors.New("url: it has a user name or token: write them into username and password, or token")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return nil, fmt.Errorf("url: number %d has a path: write scheme, host and port only", i+1)
		case len(all) > 0 && (u.Scheme == "tls") != strings.HasPrefix(all[0], "tls:"):
			return nil, errors.New("url: some servers are tls:// and some nats://: the mail would go out in clear text to some; write one of both")
		}
		if u.Port() == "" {
			u.Host += ":4222"
		}
		all = append(all, u.Scheme+"://"+u.Host)
	}
	return all, nil
}

// client returns what all connections have in common.
func (o Options) client() (nats.Options, error) {
	c := nats.GetDefaultOptions()
	var err error
	if c.Servers, err = o.servers(); err != nil {
		return c, err
	}
	c.Name, c.Timeout = "mxhook", connectWithin
	c.AllowReconnect, c.SkipHostLookup, c.IgnoreDiscoveredServers = false, true, true
	if o.InboxPrefix != "" {
		if err := nats.CustomInboxPrefix(o.InboxPrefix)(&c); err != nil || strings.ContainsAny(o.InboxPrefix, " \t\r\n") {
			return c, fmt.Errorf("inbox_prefix: %q is none: write one like _INBOX_mxhook", o.InboxPrefix)
		}
	}
	if err := o.identity(&c); err != nil {
		return c, err
	}
	return c, o.secure(&c)
}

// identity says who we are.
func (o Options) identity(c *nats.Options) error {
	var set []string
	for name, value := range map[string]string{"credentials": o.Credentials, "token": o.Token, "username": o.Username + o.Password, "nkey_seed": o.NKeySeed} {
		if value != "" {
			set = append(set, name)
		}
	}
	switch {
	case len(set) > 1:
		return errors.New("there is more than one of credentials, token, username and nkey_seed: set one")
	case o.Credentials != "":
		content := []byte(o.Credentials)
		if _, err := nkeys.ParseDecoratedJWT(content); err != nil || !strings.Contains(o.Credentials, "BEGIN NATS USER JWT") {
			return errors.New("credentials: this is not the content of a .creds file: write file:/path/of.creds")
		}
		if _, err := nkeys.ParseDecoratedNKey(content); err != nil {
			return errors.New("credentials: there is no seed in it: write file:/path/of.creds, with both the JWT and the seed")
		}
		return nats.UserCredentialBytes(content)(c)
	case o.Token != "":
		c.Token = o.Token
	case o.Username != "" || o.Password != "":
		if o.Username == "" {
			return errors.New("password without username: set both")
		}
		c.User, c.Password = o.Username, o.Password
	case o.NKeySeed != "":
		return o.nkey(c)
	}
	return nil
}

func (o Options) nkey(c *nats.Options) error {
	seed := []byte(strings.TrimSpace(o.NKeySeed))
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return errors.New("nkey_seed: this is no seed: it begins with SU and comes from `nsc` or `nk -gen user`")
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return errors.New("nkey_seed: this is not the seed of a user: it begins with SU")
	}
	c.Nkey, c.SignatureCB = public, pair.Sign
	return nil
}

// secure is TLS.
func (o Options) secure(c *nats.Options) error {
	c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	c.Secure = strings.HasPrefix(c.Servers[0], "tls:")
	if o.CA != "" {
		c.TLSConfig.RootCAs = x509.NewCertPool()
		if !c.TLSConfig.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return errors.New("tls.ca has no certificate: give PEM, or file:/path of it")
		}
	}
	if o.Certificate != "" || o.Key != "" {
		pair, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.Key))
		if err != nil {
			return errors.New("tls.certificate and tls.key are no pair: give both as PEM, the key without a password")
		}
		c.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	if o.HandshakeFirst && !c.Secure {
		return errors.New("tls.first is for tls:// URLs; write one")
	}
	if !c.Secure && (o.CA != "" || o.Certificate != "") {
		return errors.New("tls.ca and tls.certificate are for tls:// URLs, and the url is nats://: write tls://, or remove them")
	}
	c.TLSHandshakeFirst = o.HandshakeFirst
	return nil
}

// subject reads the template.
func (o Options) subject() (*pipeline.Template, error) {
	if o.Subject == "" {
		return nil, errors.New("subject is missing: set it to what to publish to, like mail.{domain}")
	}
	t, err := pipeline.ParseTemplate(o.Subject, pipeline.InSubject)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	return t, nil
}
