package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

func TestSenderHearsTheAnswerByItsStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status      int
		contentType string
		text        string
		base        func(int) Action
		on          []OnStatus
		want        string // code, status and the start of the text; "" is success
	}{
		{200, "", "", standardActions, nil, ""},
		{299, "", "", standardActions, nil, ""},
		{299, "", "", mandrillActions, nil, "451 4.3.0 The recipient's system cannot"},
		{304, "", "", standardActions, nil, "451 4.3.0"},
		{400, "", "", standardActions, nil, "554 5.6.0"},
		{400, "Text/Plain; charset=utf-8", "no", standardActions, nil, "554 5.6.0 no"},
		{401, "text/plain", "no", standardActions, nil, "451 4.3.0 no"},
		{403, "text/plainly", "no", standardActions, nil, "550 5.7.1 The recipient's system refuses"},
		{404, "", "", standardActions, nil, "550 5.1.1"},
		{406, "text/plain", " \r\n ", standardActions, nil, "550 5.7.1 The recipient's system refuses"},
		{408, "", "", standardActions, nil, "451 4.3.0"},
		{410, "", "", standardActions, nil, "550 5.1.1"},
		{413, "", "", standardActions, nil, "552 5.3.4"},
		{429, "text/plain", "slow down", standardActions, nil, "450 4.3.2 slow down"},
		{500, "text/plain", "panic: nil", standardActions, nil, "451 4.3.0 The recipient's system cannot"},
		{503, "", "", standardActions, nil, "450 4.3.2"},
		{404, "", "", standardActions, []OnStatus{{"404", Success}}, ""},
		{403, "", "", standardActions, []OnStatus{{"4xx", Retry}}, "451 4.3.0"},
		{451, "", "", standardActions, []OnStatus{{"451", Disable}}, "451 4.3.0"},
		{503, "", "", standardActions, []OnStatus{{"503", DeadLetter}}, "550 5.7.1"},
	} {
		actions, err := actionsOf(waitActions(c.base), nil, c.on)
		if err != nil {
			t.Fatal(err)
		}
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.contentType}}}
		got := senderReply(resp, actions.of(c.status), c.text)
		if said := said(got); c.want == "" && got != nil || !strings.HasPrefix(said, c.want) {
			t.Errorf("%d %s %q %v: %q, want %q", c.status, c.contentType, c.text, c.on, said, c.want)
		}
	}
}

func said(r *pipeline.SenderReply) string {
	if r == nil {
		return ""
	}
	return fmt.Sprint(r.Code, " ", r.Status, " ", r.Text)
}

func TestReplyLineIsOneLineOfASCII(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "",
		" a\r\n\tb\x00 c\u2028d": "a b c d",
		"J\u00f6rg \u202e\xff":   "J?rg ??",
		"\x7f\u0085":             "",
		strings.Repeat("x", 399): strings.Repeat("x", 399),
		strings.Repeat("x", 400): strings.Repeat("x", 400),
		strings.Repeat("x", 401): strings.Repeat("x", 397) + "...",
	} {
		if diff := cmp.Diff(want, replyLine(text)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func FuzzReplyLine(f *testing.F) {
	f.Add("a\r\n b")
	f.Add("J\u00f6rg\xff\x00")
	f.Add(strings.Repeat("long ", 200))
	f.Fuzz(func(t *testing.T, text string) {
		line := replyLine(text)
		if len(line) > maxSenderText || strings.TrimSpace(line) != line || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q becomes %q", text, line)
		}
	})
}
