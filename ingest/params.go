package ingest

import (
	"strconv"
	"strings"
)

// parseMail makes a transaction of the argument of MAIL, or returns the reply that refuses it.
func (s *session) parseMail(arg string) (*transaction, *Reply) {
	rest, ok := cutPrefixFold(arg, "FROM:")
	if !ok {
		return nil, replyMailSyntax
	}
	path, err := parsePath(strings.TrimLeft(rest, " \t"), reversePath)
	switch {
	case err == errNoBrackets:
		return nil, replyMailSyntax
	case err != nil:
		return nil, replyBadPath("5.1.7", err)
	}
	tx := &transaction{reversePath: path.address, started: s.srv.opts.Now()}
	if refusal := tx.parseParameters(path.rest); refusal != nil {
		return nil, refusal
	}
	if path.address.international && !tx.utf8 {
		return nil, replyNeedUTF8
	}
	return tx, nil
}

// parseParameters reads the parameters of MAIL (RFC 5321 4.1.2), each at most once.
func (t *transaction) parseParameters(s string) *Reply {
	if s != "" && s[0] != ' ' && s[0] != '\t' {
		return replyMailSyntax
	}
	var seen [3]bool
	for parameter := range strings.FieldsSeq(s) {
		keyword, value, hasValue := strings.Cut(parameter, "=")
		var index int
		ok := true
		switch strings.ToUpper(keyword) {
		case "SIZE": // RFC 1870 3
			index = 0
			t.size, ok = parseSize(value)
		case "BODY": // RFC 6152 2; BINARYMIME is not announced
			index = 1
			t.body = strings.ToUpper(value)
			ok = t.body == "7BIT" || t.body == "8BITMIME"
		case "SMTPUTF8": // RFC 6531 3.4
			index = 2
			t.utf8, ok = true, !hasValue
		default:
			return replyUnknownParameter
		}
		if !ok || seen[index] {
			return replyBadParameter
		}
		seen[index] = true
	}
	return nil
}

// parseBdat reads the argument of BDAT (RFC 3030 2).
func parseBdat(arg string) (size int64, last, ok bool) {
	number, rest, _ := strings.Cut(arg, " ")
	size, ok = parseSize(number)
	switch rest = strings.Trim(rest, " \t"); {
	case rest == "":
		return size, false, ok
	case strings.EqualFold(rest, "LAST"):
		return size, true, ok
	}
	return 0, false, false
}

// parseSize reads a number of 1 to 18 digits and nothing else; 20 digits are allowed, and would overflow.
func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 18 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
