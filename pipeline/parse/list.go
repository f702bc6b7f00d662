package parse

import (
	"strings"

	"mxhook/pipeline"
)

// list reads the list header fields (RFC 2919, RFC 2369, RFC 8058); nil when there are none.
func list(c *pipeline.Content) *pipeline.List {
	id, unsubscribe := c.Header("List-Id"), c.Header("List-Unsubscribe")
	l := &pipeline.List{
		Unsubscribe: listURLs(unsubscribe),
		Post:        firstOf(listURLs(c.Header("List-Post"))),
		Archive:     firstOf(listURLs(c.Header("List-Archive"))),
		Help:        firstOf(listURLs(c.Header("List-Help"))),
	}
	l.Name, l.ID = "", strings.TrimSpace(id)
	if i := strings.LastIndexByte(id, '<'); i >= 0 {
		l.Name = strings.Trim(strings.TrimSpace(id[:i]), `"`)
		l.ID, _, _ = strings.Cut(id[i+1:], ">")
		l.ID = strings.TrimSpace(l.ID)
	}
	if l.ID == "" && l.Unsubscribe == nil && l.Post == "" && l.Archive == "" && l.Help == "" {
		return nil
	}
	// RFC 8058 3.1: the field has this one value, and an https URL to go with it.
	if strings.EqualFold(strings.Join(strings.Fields(c.Header("List-Unsubscribe-Post")), ""), "List-Unsubscribe=One-Click") {
		for _, u := range l.Unsubscribe {
			l.OneClick = l.OneClick || strings.HasPrefix(strings.ToLower(u), "https://")
		}
	}
	return l
}

// listURLs returns the URLs in angle brackets (RFC 2369 2), at most 10; others than http and mailto are left out.
func listURLs(s string) []string {
	var urls []string
	for len(urls) < 10 {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			break
		}
		u, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		s = after
		u = strings.Join(strings.Fields(u), "")
		low := strings.ToLower(u)
		if strings.HasPrefix(low, "https://") || strings.HasPrefix(low, "http://") || strings.HasPrefix(low, "mailto:") {
			urls = append(urls, u)
		}
	}
	return urls
}

func firstOf(ss []string) string {
	if len(ss) == 0 {
		return ""
	}
	return ss[0]
}
