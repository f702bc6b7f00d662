package webhook

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	const url = "https://example.com/hook"
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"no url":              {Options{}, "url is missing"},
		"relative":            {Options{URL: "/hook"}, "must start with http:// or https://"},
		"other scheme":        {Options{URL: "ftp://example.com"}, "must start with http:// or https://"},
		"no host":             {Options{URL: "https:///hook"}, "no host"},
		"fragment":            {Options{URL: url + "#x"}, "fragment"},
		"port":                {Options{URL: "https://example.com:70000/"}, "no valid port"},
		"port zero":           {Options{URL: "https://example.com:0/"}, "no valid port"},
		"password unescaped":  {Options{URL: "https://alice:hunter2/x@example.com/"}, "percent-encode"},
		"long":                {Options{URL: url + strings.Repeat("x", maxURL)}, "longer than"},
		"no secret":           {Options{URL: url}, "no secret"},
		"header name":         {Options{URL: url, Headers: []Header{{"X Y", "v"}}}, `header "X Y": not a field name`},
		"header value":        {Options{URL: url, Headers: []Header{{"X", "hunter2\r\nY: 1"}}}, "control characters"},
		"header hop-by-hop":   {Options{URL: url, Headers: []Header{{"connection", "close"}}}, "reserved"},
		"header te":           {Options{URL: url, Headers: []Header{{"TE", "trailers"}}}, "reserved"},
		"header host":         {Options{URL: url, Headers: []Header{{"Host", "x"}}}, "reserved"},
		"header webhook":      {Options{URL: url, Headers: []Header{{"WEBHOOK-ID", "x"}}}, "reserved"},
		"header content type": {Options{URL: url, Headers: []Header{{"content-type", "x"}}}, "reserved"},
		"two authorizations":  {Options{URL: "https://a:hunter2@example.com", Headers: []Header{{"authorization", "x"}}}, "remove one of them"},
		"too many headers":    {Options{URL: url, Headers: make([]Header, maxHeaders+1)}, "at most"},
		"permanent success":   {Options{URL: url, PermanentStatuses: []int{200}}, "permanent_statuses: 200"},
		"permanent 600":       {Options{URL: url, PermanentStatuses: []int{600}}, "permanent_statuses: 600"},
		"empty network":       {Options{URL: url, AllowNetworks: []netip.Prefix{{}}}, "allow_networks"},
		"negative timeout":    {Options{URL: url, ConnectTimeout: -time.Second}, "cannot be negative"},
	} {
		if name != "no secret" {
			tt.o.Secrets = []string{testSecret}
		}
		_, err := New(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds a password: %v", name, err)
		}
	}
}

func TestNewTakesOrdinaryEndpoints(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"https://example.com", "http://example.com:8080/a/b?c=d", "https://alice:p%40ss@example.com/", "https://8.8.8.8/",
		"https://bücher.example/", "https://[2606:4700::1111]:8443/x",
	} {
		if _, err := New(Options{URL: url, Secrets: []string{testSecret, testPrivate}, Headers: []Header{{"X-Key", "v"}}}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
