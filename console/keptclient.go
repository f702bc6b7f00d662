package console

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"mxhook/pipeline"
)

// Messages lists kept messages, newest first.
func (c *Client) Messages(ctx context.Context, f pipeline.MessageFilter, limit int) ([]Message, error) {
	q := listValues(limit, f.Since, f.Until)
	set(q, "recipient", f.Recipient)
	set(q, "from", f.From)
	var out struct {
		Messages []Message `json:"messages"`
	}
	err := c.json(ctx, http.MethodGet, "/api/v1/messages?"+q.Encode(), nil, &out)
	return out.Messages, err
}

// Message returns one kept message.
func (c *Client) Message(ctx context.Context, id string) (out Message, err error) {
	err = c.json(ctx, http.MethodGet, "/api/v1/messages/"+url.PathEscape(id), nil, &out)
	return out, err
}

// MessageMail writes the octets of a kept message, as received, to w.
func (c *Client) MessageMail(ctx context.Context, id string, w io.Writer) error {
	return c.copy(ctx, "/api/v1/messages/"+url.PathEscape(id)+"/mail", w)
}

// DropMessage removes a kept message for good; BuryMessage makes a dead letter of one that cannot be processed.
func (c *Client) DropMessage(ctx context.Context, id string) error {
	return c.json(ctx, http.MethodDelete, "/api/v1/messages/"+url.PathEscape(id), nil, nil)
}

// BuryMessage makes a dead letter of a message that cannot be processed.
func (c *Client) BuryMessage(ctx context.Context, id string) error {
	return c.json(ctx, http.MethodPost, "/api/v1/messages/"+url.PathEscape(id)+"/bury", nil, nil)
}

// Deliveries lists deliveries, newest first.
func (c *Client) Deliveries(ctx context.Context, f pipeline.DeliveryFilter, limit int) ([]Delivery, error) {
	q := listValues(limit, f.Since, f.Until)
	set(q, "state", f.State)
	set(q, "message", f.Message)
	set(q, "sink", f.Sink)
	set(q, "rule", f.Rule)
	set(q, "recipient", f.Recipient)
	var out struct {
		Deliveries []Delivery `json:"deliveries"`
	}
	err := c.json(ctx, http.MethodGet, "/api/v1/deliveries?"+q.Encode(), nil, &out)
	return out.Deliveries, err
}

// Delivery returns one delivery.
func (c *Client) Delivery(ctx context.Context, id string) (out Delivery, err error) {
	err = c.json(ctx, http.MethodGet, "/api/v1/deliveries/"+url.PathEscape(id), nil, &out)
	return out, err
}

// DropDelivery removes a delivery that waits, for good.
func (c *Client) DropDelivery(ctx context.Context, id string) error {
	return c.json(ctx, http.MethodDelete, "/api/v1/deliveries/"+url.PathEscape(id), nil, nil)
}

// BuryDelivery makes a dead letter of a delivery that waits.
func (c *Client) BuryDelivery(ctx context.Context, id string) error {
	return c.json(ctx, http.MethodPost, "/api/v1/deliveries/"+url.PathEscape(id)+"/bury", nil, nil)
}

// ReplayPage does one page of a replay.
func (c *Client) ReplayPage(ctx context.Context, r ReplayRequest) (out ReplayAnswer, err error) {
	err = c.json(ctx, http.MethodPost, "/api/v1/replays", r, &out)
	return out, err
}

func listValues(limit int, since, until time.Time) url.Values {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if !since.IsZero() {
		q.Set("since", since.Format(time.RFC3339Nano))
	}
	if !until.IsZero() {
		q.Set("until", until.Format(time.RFC3339Nano))
	}
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func (c *Client) copy(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}
