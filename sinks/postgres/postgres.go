// Package postgres is the sink that writes deliveries into tables of a PostgreSQL database.
package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"mxhook/pipeline"
)

// Options configures one sink.
type Options struct {
	// URL is "postgres://user:password@host:5432/database". Without sslmode in it, it is verify-full: no server is believed
	// without a certificate.
	URL string
	// Password is that of the user, when it is not in the URL.
	Password string
	// CA are the authorities that the server's certificate must come from, PEM; "" are the system's.
	CA string
	// Schema is the schema of the tables (default "mxhook").
	Schema string
	// Given says that the tables are there, as Schema makes them; otherwise the sink makes them.
	Given bool
	// OmitRaw and OmitAttachments leave out the octets of the mail and of attachments.
	OmitRaw, OmitAttachments bool
	// Control judges each address before it is dialled, as net.Dialer.Control; nil allows all. Unix sockets are not judged.
	Control func(network, address string, c syscall.RawConn) error
	// Concurrency bounds the connections (default 16).
	Concurrency int
	// Encode writes the payload; it must be set.
	Encode func(w io.Writer, d *pipeline.Delivery) error
}

// Postgres is a pipeline.Sink on one schema. Safe for concurrent use. It keeps connections until Close.
//
// A delivery is written in one transaction, under its delivery id: it is there as a whole or not at all, and a repeat
// changes nothing.
type Postgres struct {
	schema   string
	given    bool
	octets   octets
	encode   func(w io.Writer, d *pipeline.Delivery) error
	insert   statements
	config   *pgxpool.Config
	redactor *strings.Replacer

	// preparing holds one token: who has it makes the pool and the tables.
	preparing chan struct{}
	mu        sync.Mutex
	pool      *pgxpool.Pool // guarded by mu; nil until the first attempt
	ready     bool          // guarded by mu: the tables are there
	users     int           // guarded by mu: attempts under way
	closed    bool          // guarded by mu
}

type octets struct{ raw, attachments bool }

const connectWithin = 10 * time.Second

// schemaName is what needs no quotes, so that people can type it.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// New checks the options and returns the sink; it does not connect.
func New(o Options) (*Postgres, error) {
	if o.Schema == "" {
		o.Schema = "mxhook"
	}
	if !schemaName.MatchString(o.Schema) {
		return nil, fmt.Errorf("schema %q: use lower-case letters, digits and underscores, a letter first", o.Schema)
	}
	if o.Encode == nil {
		return nil, errors.New("there is nothing to make the JSON with")
	}
	p := &Postgres{
		schema: o.Schema, given: o.Given, octets: octets{!o.OmitRaw, !o.OmitAttachments}, encode: o.Encode, insert: newStatements(o.Schema),
		preparing: make(chan struct{}, 1),
	}
	p.preparing <- struct{}{}
	var err error
	if p.config, err = o.config(); err != nil {
		return nil, err
	}
	var pairs []string
	for _, secret := range []string{o.Password, p.config.ConnConfig.Password} {
		if len(secret) >= 4 {
			pairs = append(pairs, secret, "[redacted]", url.QueryEscape(secret), "[redacted]", url.PathEscape(secret), "[redacted]")
		}
	}
	p.redactor = strings.NewReplacer(pairs...)
	return p, nil
}

// config reads the URL. No error quotes it.
func (o Options) config() (*pgxpool.Config, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("url is missing or no URL: write postgres://user@host:5432/database")
	}
	query := u.Query()
	mode := query.Get("sslmode")
	socket := u.Hostname() == "" && strings.HasPrefix(query.Get("host"), "/")
	switch {
	case u.Hostname() == "" && !socket:
		return nil, errors.New("url has no host: write postgres://user@host:5432/database, or ?host=/path for a unix socket")
	case strings.Trim(u.Path, "/") == "":
		return nil, errors.New("url names no database: write postgres://user@host:5432/database")
	case mode == "" && !socket:
		mode = "verify-full"
		query.Set("sslmode", mode)
		u.RawQuery = query.Encode()
	}
	config, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, errors.New("url: an option in it is unknown or has a wrong value; the options are those of PostgreSQL's own URLs and pool_max_conns")
	}
	c := config.ConnConfig
	if o.Password != "" {
		c.Password = o.Password
	}
	if o.CA != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("tls.ca has no certificate: give PEM, or file:/path of it")
		}
		if c.TLSConfig == nil || mode != "verify-full" {
			return nil, errors.New("tls.ca is for sslmode=verify-full, and the url says otherwise: remove one")
		}
		c.TLSConfig.RootCAs = roots
		for _, f := range c.Fallbacks {
			if f.TLSConfig != nil {
				f.TLSConfig.RootCAs = roots
			}
		}
	}
	dialer := &net.Dialer{Timeout: connectWithin, KeepAlive: 15 * time.Second}
	if o.Control != nil {
		dialer.Control = func(network, address string, rc syscall.RawConn) error {
			if strings.HasPrefix(network, "unix") {
				return nil
			}
			return o.Control(network, address, rc)
		}
	}
	c.DialFunc, c.ConnectTimeout = dialer.DialContext, connectWithin
	c.RuntimeParams["application_name"] = "mxhook"
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	config.MaxConns, config.MinConns, config.MaxConnIdleTime = int32(o.Concurrency), 0, time.Minute
	return config, nil
}

// Close closes the connections; those of attempts under way, and of ones that begin afterwards all the same, when the last
// of them has ended.
func (p *Postgres) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.closeUnused()
	return nil
}

// enter begins an attempt, leave ends it.
func (p *Postgres) enter() {
	p.mu.Lock()
	p.users++
	p.mu.Unlock()
}

func (p *Postgres) leave() {
	p.mu.Lock()
	p.users--
	p.mu.Unlock()
	p.closeUnused()
}

func (p *Postgres) closeUnused() {
	p.mu.Lock()
	var pool *pgxpool.Pool
	if p.closed && p.users == 0 {
		pool, p.pool, p.ready = p.pool, nil, false
	}
	p.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
}

// Deliver implements pipeline.Sink. When it returns nil the server has committed.
func (p *Postgres) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("write to the database: %w", err)
	}
	row, err := p.row(d)
	if err != nil {
		return pipeline.Response{}, pipeline.Permanent(err)
	}
	p.enter()
	defer p.leave()
	pool, err := p.prepared(ctx)
	if err != nil {
		return pipeline.Response{}, p.judge(ctx, err)
	}
	fresh, err := p.write(ctx, pool, row)
	if err != nil {
		return pipeline.Response{}, p.judge(ctx, err)
	}
	if !fresh {
		return pipeline.Response{Status: "stored before", Detail: p.schema + ".messages"}, nil
	}
	return pipeline.Response{Status: "stored", Detail: p.schema + ".messages"}, nil
}

// prepared returns the pool once the tables are there. One attempt at a time makes them, the others wait.
func (p *Postgres) prepared(ctx context.Context) (*pgxpool.Pool, error) {
	if pool, ready := p.state(); ready {
		return pool, nil
	}
	select {
	case <-p.preparing:
		defer func() { p.preparing <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pool, ready := p.state()
	if ready {
		return pool, nil
	}
	if pool == nil {
		var err error
		if pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), p.config.Copy()); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	p.pool = pool
	p.mu.Unlock()
	if !p.given {
		err := pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return p.migrate(ctx, c.Conn()) })
		if err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	p.ready = true
	p.mu.Unlock()
	return pool, nil
}

func (p *Postgres) state() (*pgxpool.Pool, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pool, p.ready
}

// judge says what an error means. Of the classes of SQLSTATE (PostgreSQL, appendix A) those that are about the data are
// for good; a server that is down, full, misconfigured or lacks tables is cured by its owner, and the deliveries wait.
func (p *Postgres) judge(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("write to the database: %w", ctx.Err())
	}
	text := strings.ToValidUTF8(p.redactor.Replace(err.Error()), "\uFFFD")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	told := &toldError{"write to the database: " + text, err}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return told
	}
	switch pg.Code {
	case "42P01", "3F000": // somebody removed the tables: the next attempt makes them again
		p.mu.Lock()
		p.ready = false
		p.mu.Unlock()
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "22", "23", "54": // data exception, constraint, a limit of the server
		return pipeline.Permanent(told)
	}
	return told
}

// toldError has a text without secrets.
type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }
