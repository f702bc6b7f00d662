package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"mxhook/pipeline"
)

// address is what of a request depends on the delivery: path and query of the URL and values of header fields, where
// they are templates. Scheme and host never do: what mail says must not choose whom we talk to.
type address struct {
	path, query *pipeline.Template // nil when fixed
	headers     []headerTemplate
}

type headerTemplate struct {
	name   string // canonical
	option string
	value  *pipeline.Template
}

// readURL takes the templates out of a URL. The URL that it returns has their fixed texts, with x for each field.
func (a *address) readURL(text string) (string, error) {
	if !strings.ContainsAny(text, "{}") {
		return text, nil
	}
	start := 0
	if scheme := strings.Index(text, "://"); scheme >= 0 {
		start = scheme + len("://")
	}
	end := len(text)
	if i := strings.IndexAny(text[start:], "/?#"); i >= 0 {
		end = start + i
	}
	// What braces are doubled here stand for themselves, as they do behind: a password may have them.
	before := unbraced(text[:end])
	if strings.ContainsAny(strings.NewReplacer("{{", "", "}}", "").Replace(text[:end]), "{}") {
		return "", errors.New("url: there is a field in braces before the path: only path and query can be templates, the host is fixed")
	}
	path, rest, _ := strings.Cut(text[end:], "#")
	if rest != "" {
		return "", errors.New("url has a fragment (#...), which is never sent: remove it")
	}
	path, query, hasQuery := strings.Cut(path, "?")
	var err error
	if a.path, err = readTemplate(path, pipeline.InPath, end); err != nil {
		return "", err
	}
	sample := before + sampleOf(a.path, path)
	if hasQuery {
		if a.query, err = readTemplate(query, pipeline.InQuery, end+len(path)+1); err != nil {
			return "", err
		}
		sample += "?" + sampleOf(a.query, query)
	}
	return sample, nil
}

// unbraced is the text of a template without fields.
func unbraced(text string) string {
	return strings.NewReplacer("{{", "{", "}}", "}").Replace(text)
}

// readTemplate reads a part of the URL that begins at the octet from. It returns nil for a part without braces. The error
// does not quote the URL.
func readTemplate(text string, place pipeline.Place, from int) (*pipeline.Template, error) {
	if !strings.ContainsAny(text, "{}") {
		return nil, nil
	}
	t, err := pipeline.ParseTemplate(text, place)
	var at *pipeline.TemplateError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("url: column %d: %s", at.Column+from, at.Text)
	}
	return t, err
}

func sampleOf(t *pipeline.Template, text string) string {
	if t == nil {
		return text
	}
	return t.Expand(&pipeline.Delivery{Message: &pipeline.Message{}})
}

// readHeader takes the value of a header field when it is a template, and returns the value when it is none.
func (a *address) readHeader(i int, name, value string) (fixed string, is bool, err error) {
	t, err := pipeline.ParseTemplate(value, pipeline.InHeader)
	if err != nil {
		return "", false, err
	}
	if t.Fixed() {
		return t.Expand(nil), true, nil
	}
	a.headers = append(a.headers, headerTemplate{name, fmt.Sprintf("headers[%d].value", i), t})
	return "", false, nil
}

// url returns where the delivery goes.
func (a *address) url(target *url.URL, d *pipeline.Delivery) (*url.URL, error) {
	if a.path == nil && a.query == nil {
		return target, nil
	}
	u := *target
	if a.path != nil {
		u.RawPath = a.path.Expand(d)
		path, err := url.PathUnescape(u.RawPath)
		if err != nil {
			return nil, errors.New("the path of the url cannot be made")
		}
		u.Path = path
	}
	if a.query != nil {
		u.RawQuery = a.query.Expand(d)
	}
	return &u, nil
}

// fill writes the header fields of the delivery.
func (a *address) fill(h http.Header, d *pipeline.Delivery) {
	for _, t := range a.headers {
		h.Add(t.name, t.value.Expand(d))
	}
}

// authorizes reports whether a template makes the Authorization field.
func (a *address) authorizes() bool {
	return slices.ContainsFunc(a.headers, func(t headerTemplate) bool { return t.name == "Authorization" })
}

// secrets are fixed texts of templates that may be secrets.
func (a *address) secrets() []string {
	var out []string
	if a.path != nil {
		for _, text := range a.path.Literals() {
			for segment := range strings.SplitSeq(text, "/") {
				if len(segment) >= minToken {
					out = append(out, segment)
				}
			}
		}
	}
	if a.query != nil {
		for _, text := range a.query.Literals() {
			for pair := range strings.SplitSeq(text, "&") {
				_, value, _ := strings.Cut(pair, "=")
				out = append(out, value)
			}
		}
	}
	for _, h := range a.headers {
		for _, text := range h.value.Literals() {
			out = append(out, strings.TrimSpace(text))
			if _, credentials, ok := strings.Cut(text, " "); ok {
				out = append(out, strings.TrimSpace(credentials))
			}
		}
	}
	return out
}

// Templates implements pipeline.Templated.
func (w *Webhook) Templates() []pipeline.TemplateOption {
	options := []pipeline.TemplateOption{{Option: "url", Template: w.address.path}, {Option: "url query", Template: w.address.query}}
	for _, h := range w.address.headers {
		options = append(options, pipeline.TemplateOption{Option: h.option, Template: h.value})
	}
	return options
}
