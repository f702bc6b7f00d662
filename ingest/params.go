package ingest

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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
	switch {
	case tx.requireTLS && s.client.TLS == nil:
		return nil, replyUnknownParameter // RFC 8689 2: offered under TLS only
	case path.address.international && !tx.utf8:
		return nil, replyNeedUTF8
	}
	return tx, nil
}

// parseParameters reads the parameters of MAIL.
func (t *transaction) parseParameters(s string) *Reply {
	return eachParameter(s, replyMailSyntax, func(keyword, value string, hasValue bool) (known, ok bool) {
		ok = hasValue
		switch keyword {
		case "SIZE": // RFC 1870 3
			t.size, ok = parseSize(value)
		case "BODY": // RFC 6152 2, RFC 3030 3
			t.body = strings.ToUpper(value)
			ok = t.body == "7BIT" || t.body == "8BITMIME" || t.body == "BINARYMIME"
		case "SMTPUTF8": // RFC 6531 3.4
			t.utf8, ok = true, !hasValue
		case "RET": // RFC 3461 4.3
			t.ret = strings.ToUpper(value)
			ok = t.ret == "FULL" || t.ret == "HDRS"
		case "ENVID": // RFC 3461 4.4
			t.envID, ok = decodeXtext(value)
			ok = ok && value != "" && len(value) <= maxEnvID
		case "REQUIRETLS": // RFC 8689 2
			t.requireTLS, ok = true, !hasValue
		default:
			return false, false
		}
		return true, ok
	})
}

// Bounds of RFC 3461 4.2 and 4.4, in octets as sent.
const (
	maxEnvID = 100
	maxORcpt = 500
)

// rcptParameters are those of RCPT (RFC 3461 4.1, 4.2).
type rcptParameters struct {
	notify, original string
}

// parseRcptParameters reads the parameters of RCPT.
func parseRcptParameters(s string) (p rcptParameters, refusal *Reply) {
	refusal = eachParameter(s, replyRcptSyntax, func(keyword, value string, _ bool) (known, ok bool) {
		switch keyword {
		case "NOTIFY":
			p.notify, ok = parseNotify(value)
		case "ORCPT":
			p.original, ok = parseORcpt(value)
		default:
			return false, false
		}
		return true, ok
	})
	return p, refusal
}

// eachParameter gives every parameter behind a path, its keyword in upper case, to read (RFC 5321 4.1.2). Each may be
// there once.
func eachParameter(s string, syntax *Reply, read func(keyword, value string, hasValue bool) (known, ok bool)) *Reply {
	if s != "" && s[0] != ' ' && s[0] != '\t' {
		return syntax
	}
	var seen []string
	for parameter := range strings.FieldsSeq(s) {
		keyword, value, hasValue := strings.Cut(parameter, "=")
		keyword = strings.ToUpper(keyword)
		known, ok := read(keyword, value, hasValue)
		switch {
		case !known:
			return replyUnknownParameter
		case !ok || slices.Contains(seen, keyword):
			return replyBadParameter
		}
		seen = append(seen, keyword)
	}
	return nil
}

// parseNotify reads the value of NOTIFY and returns it in upper case.
func parseNotify(s string) (string, bool) {
	s = strings.ToUpper(s)
	if s == "NEVER" {
		return s, true
	}
	var seen []string
	for word := range strings.SplitSeq(s, ",") {
		if word != "SUCCESS" && word != "FAILURE" && word != "DELAY" || slices.Contains(seen, word) {
			return "", false
		}
		seen = append(seen, word)
	}
	return s, true
}

// parseORcpt reads the value of ORCPT, an address type and an address, and returns it decoded. With the type utf-8
// (RFC 6533 3) the address stays as it is.
func parseORcpt(s string) (string, bool) {
	kind, address, _ := strings.Cut(s, ";")
	if kind == "" || address == "" || len(s) > maxORcpt || strings.ContainsFunc(kind, func(r rune) bool { return !isAtext(r, 1) || r >= utf8.RuneSelf }) {
		return "", false
	}
	if strings.EqualFold(kind, "utf-8") {
		return s, utf8.ValidString(address)
	}
	address, ok := decodeXtext(address)
	return kind + ";" + address, ok && isASCII(address)
}

// decodeXtext decodes xtext (RFC 3461 4). What it stands for must be printable.
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			c, i = byte(n), i+2
		} else if c == '=' {
			return "", false
		}
		if c < ' ' || c > '~' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
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
