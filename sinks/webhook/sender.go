package webhook

import (
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"mxhook/pipeline"
)

// maxSenderText bounds what a sender hears of an answer, so that the reply stays one line (RFC 5321 4.5.3.1.5).
const maxSenderText = 400

// waitActions are the actions while a sender waits, for a format with those of base: what the endpoint holds against the
// mail (4xx) refuses it for good, unless it is about us, or about the moment.
func waitActions(base func(status int) Action) func(status int) Action {
	return func(status int) Action {
		switch {
		case base(status) == Success:
			return Success
		case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired, status == http.StatusRequestTimeout,
			status == http.StatusMisdirectedRequest, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
			return Retry
		case status >= 400 && status <= 499:
			return DeadLetter
		}
		return Retry
	}
}

// senderReply is what a sender who waits hears of an answer; nil when it is success. text is the start of the answer,
// without secrets.
func senderReply(resp *http.Response, action Action, text string) *pipeline.SenderReply {
	var r pipeline.SenderReply
	switch status := resp.StatusCode; {
	case action == Success:
		return nil
	case action != DeadLetter && (status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable):
		r = pipeline.SenderReply{Code: 450, Status: "4.3.2", Text: "The recipient's system takes no more messages now; try again later"}
	case action != DeadLetter:
		r = pipeline.SenderReply{Code: 451, Status: "4.3.0", Text: "The recipient's system cannot take the message now; try again later"}
	case status == http.StatusNotFound, status == http.StatusGone:
		r = pipeline.SenderReply{Code: 550, Status: "5.1.1", Text: "No such recipient here"}
	case status == http.StatusRequestEntityTooLarge:
		r = pipeline.SenderReply{Code: 552, Status: "5.3.4", Text: "The message is larger than the recipient's system takes"}
	case status == http.StatusBadRequest, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		r = pipeline.SenderReply{Code: 554, Status: "5.6.0", Text: "The recipient's system does not take the content of the message"}
	default:
		r = pipeline.SenderReply{Code: 550, Status: "5.7.1", Text: "The recipient's system refuses the message"}
	}
	// What is said of a trouble of the endpoint's own (5xx) is for its makers, not for senders.
	if resp.StatusCode >= 400 && resp.StatusCode <= 499 && isPlainText(resp.Header.Get("Content-Type")) {
		if line := replyLine(text); line != "" {
			r.Text = line
		}
	}
	return &r
}

func isPlainText(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "text/plain"
}

// replyLine makes one line of printable ASCII of a text: white space and control characters become one space, everything
// else that is not ASCII a question mark.
func replyLine(text string) string {
	var b strings.Builder
	space := false
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRuneInString(text[i:])
		i += n
		if unicode.IsSpace(c) || unicode.IsControl(c) {
			space = true
			continue
		}
		if c > '~' {
			c = '?'
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		if b.Len() >= maxSenderText {
			return strings.TrimRight(b.String()[:maxSenderText-3], " ") + "..."
		}
		b.WriteRune(c)
	}
	return b.String()
}
