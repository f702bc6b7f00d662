package msgauth

import (
	"context"
	"strings"
)

// maxWalk bounds the queries of one tree walk (RFC 9989 4.10).
const maxWalk = 8

// walker makes the tree walks for one message and asks for each name once. It is not safe for concurrent use.
type walker struct {
	ctx      context.Context // of the one message that it is made for
	resolver Resolver
	seen     map[string]lookedUp
}

type lookedUp struct {
	rec *dmarcRecord
	err error
}

// found is a domain with its DMARC record.
type found struct {
	domain string
	rec    *dmarcRecord
}

// record returns the one DMARC record of a domain: nil when there is none, or several, which cancel each other out.
func (w *walker) record(domain string) (*dmarcRecord, error) {
	if l, ok := w.seen[domain]; ok {
		return l.rec, l.err
	}
	rec, err := w.query(domain)
	w.seen[domain] = lookedUp{rec, err}
	return rec, err
}

func (w *walker) query(domain string) (*dmarcRecord, error) {
	name := "_dmarc." + domain
	txts, err := w.resolver.LookupTXT(w.ctx, name)
	if err != nil {
		if isNotFound(err) {
			return nil, nil
		}
		return nil, dnsError(name, err)
	}
	var rec *dmarcRecord
	for _, txt := range txts {
		r, ok := parseDMARC(txt)
		if !ok {
			continue
		}
		if rec != nil {
			return nil, nil
		}
		rec = r
	}
	return rec, nil
}

// walk is the DNS tree walk (RFC 9989 4.10): the records on the way from the domain up, longest name first. With an
// error it returns what it found before.
func (w *walker) walk(domain string) ([]found, error) {
	var fs []found
	for _, name := range walkNames(domain) {
		rec, err := w.record(name)
		if err != nil {
			return fs, err
		}
		if rec == nil {
			continue
		}
		fs = append(fs, found{name, rec})
		if rec.psd != 'u' {
			break
		}
	}
	return fs, nil
}

// walkNames returns the names that a tree walk asks for: the domain, then its last seven labels at most and so on up to
// the top level.
func walkNames(domain string) []string {
	names := []string{domain}
	labels := strings.Split(domain, ".")
	for n := min(len(labels)-1, maxWalk-1); n > 0; n-- {
		names = append(names, strings.Join(labels[len(labels)-n:], "."))
	}
	return names
}

// organizational returns the organizational domain that a walk from domain shows (RFC 9989 4.10.2).
func organizational(domain string, fs []found) string {
	for _, f := range fs {
		if f.rec.psd == 'n' {
			return f.domain
		}
		if f.rec.psd == 'y' && f.domain != domain {
			labels := strings.Split(domain, ".")
			below := strings.Count(f.domain, ".") + 2
			return strings.Join(labels[len(labels)-below:], ".")
		}
	}
	if len(fs) > 0 {
		return fs[len(fs)-1].domain
	}
	return domain
}
