package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Client talks to the API of a running mxhook. Safe for concurrent use.
type Client struct {
	// Base is the address of the ops listener, "http://127.0.0.1:8025".
	Base  string
	Token string
	HTTP  *http.Client
}

// DeadLetters lists dead letters, newest first.
func (c *Client) DeadLetters(ctx context.Context, f DeadFilter) ([]DeadLetter, error) {
	q := listValues(f.Limit, f.Since, f.Until)
	set(q, "sink", f.Sink)
	set(q, "message", f.Message)
	var out struct {
		Dead []DeadLetter `json:"dead"`
	}
	err := c.json(ctx, http.MethodGet, "/api/v1/dead?"+q.Encode(), nil, &out)
	return out.Dead, err
}

// DeadLetter returns one dead letter.
func (c *Client) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	var out DeadLetter
	err := c.json(ctx, http.MethodGet, "/api/v1/dead/"+url.PathEscape(id), nil, &out)
	return out, err
}

// Mail writes the octets of a dead letter's message, as received, to w.
func (c *Client) Mail(ctx context.Context, id string, w io.Writer) error {
	return c.copy(ctx, "/api/v1/dead/"+url.PathEscape(id)+"/mail", w)
}

// Replay makes a new delivery of a dead letter, to the sink named or, when that is "", to its own; it returns the new id.
func (c *Client) Replay(ctx context.Context, id, sink string) (string, error) {
	var out struct {
		Delivery string `json:"delivery"`
	}
	err := c.json(ctx, http.MethodPost, "/api/v1/dead/"+url.PathEscape(id)+"/replay", map[string]string{"sink": sink}, &out)
	return out.Delivery, err
}

// Drop removes a dead letter and its message for good.
func (c *Client) Drop(ctx context.Context, id string) error {
	return c.json(ctx, http.MethodDelete, "/api/v1/dead/"+url.PathEscape(id), nil, nil)
}

// Sinks lists the sinks, and those that deliveries wait for.
func (c *Client) Sinks(ctx context.Context) ([]Sink, error) {
	var out struct {
		Sinks []Sink `json:"sinks"`
	}
	err := c.json(ctx, http.MethodGet, "/api/v1/sinks", nil, &out)
	return out.Sinks, err
}

// PauseSink stops deliveries to a sink; ResumeSink lets them go on. Both return the sink as it is then.
func (c *Client) PauseSink(ctx context.Context, name, reason string) (Sink, error) {
	var out Sink
	err := c.json(ctx, http.MethodPost, "/api/v1/sinks/"+url.PathEscape(name)+"/pause", map[string]string{"reason": reason}, &out)
	return out, err
}

// ResumeSink ends a pause.
func (c *Client) ResumeSink(ctx context.Context, name string) (Sink, error) {
	var out Sink
	err := c.json(ctx, http.MethodPost, "/api/v1/sinks/"+url.PathEscape(name)+"/resume", nil, &out)
	return out, err
}

func (c *Client) json(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Base, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+path, body)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("talk to mxhook at %s: %w (is it running, and is that its ops.address?)", c.Base, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e); err != nil || e.Error == "" {
		e.Error = resp.Status
	}
	return nil, errors.New(e.Error)
}
