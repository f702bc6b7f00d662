package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"mxhook/sinks/webhook"
)

// maxWebhook bounds the body of one webhook that a receiver reads.
const maxWebhook = 256 << 20

// received is one webhook as it arrived, with the part of the payload that we show.
type received struct {
	At     time.Time
	Path   string
	Header http.Header
	Body   []byte
	// Genuine is nil when the signature is right; unset when the receiver has no secret.
	Genuine error
	Checked bool
	Payload shownPayload
}

// shownPayload is the part of a payload that is worth a look.
type shownPayload struct {
	Type string `json:"type"`
	Data struct {
		ID       string `json:"id"`
		Kind     string `json:"kind"`
		Delivery struct {
			ID       string   `json:"id"`
			Sink     string   `json:"sink"`
			Rules    []string `json:"rules"`
			Attempt  int      `json:"attempt"`
			ReplayOf *string  `json:"replay_of"`
		} `json:"delivery"`
		Envelope struct {
			MailFrom   string    `json:"mail_from"`
			ReceivedAt time.Time `json:"received_at"`
			Size       int64     `json:"size"`
			Recipients []struct {
				Address string `json:"address"`
			} `json:"recipients"`
			Client struct {
				IP *string `json:"ip"`
			} `json:"client"`
		} `json:"envelope"`
		Auth struct {
			Sender struct {
				Verified bool    `json:"verified"`
				Domain   *string `json:"domain"`
				By       *string `json:"by"`
			} `json:"sender"`
			SPF   struct{ Result string } `json:"spf"`
			DMARC struct{ Result string } `json:"dmarc"`
			DKIM  []struct {
				Result string  `json:"result"`
				Domain *string `json:"domain"`
			} `json:"dkim"`
		} `json:"auth"`
		Message *struct {
			Subject *string `json:"subject"`
			From    []struct {
				Name    *string `json:"name"`
				Address string  `json:"address"`
			} `json:"from"`
			Text        *string `json:"text"`
			HTML        *string `json:"html"`
			Attachments []struct {
				Filename    string `json:"filename"`
				ContentType string `json:"content_type"`
				Size        int64  `json:"size"`
			} `json:"attachments"`
		} `json:"message"`
		Problems []struct {
			Code   string `json:"code"`
			Detail string `json:"detail"`
		} `json:"problems"`
	} `json:"data"`
}

// receiver is a webhook endpoint that verifies what arrives and hands it on. Safe for concurrent use.
type receiver struct {
	// verifier is nil when the receiver knows no secret: then nothing is refused.
	verifier *webhook.Verifier
	// status is what a genuine webhook is answered with.
	status int
	got    func(received)
}

// ServeHTTP implements http.Handler. A webhook whose signature does not fit is answered with 401, and still handed on.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "this endpoint takes webhooks: POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxWebhook))
	if err != nil {
		http.Error(w, "read the body: "+err.Error(), http.StatusBadRequest)
		return
	}
	got := received{At: time.Now(), Path: req.URL.Path, Header: req.Header, Body: body}
	status := r.status
	if r.verifier != nil {
		got.Checked, got.Genuine = true, r.verifier.Verify(req.Header, body)
		if got.Genuine != nil {
			status = http.StatusUnauthorized
		}
	}
	if err := json.Unmarshal(body, &got.Payload); err != nil {
		http.Error(w, fmt.Sprintf("the body is no webhook of mxhook: %v", err), http.StatusBadRequest)
		return
	}
	r.got(got)
	w.WriteHeader(status)
}
