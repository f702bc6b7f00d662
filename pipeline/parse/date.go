package parse

import (
	"strconv"
	"strings"
	"time"
)

// parseDate reads a date (RFC 5322 3.3) in the forms that mail has: any order of day, month name and year, two-digit
// years, zones by name, by number or none (UTC), comments, ISO 8601.
func parseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(cut(s, 200))
	if s == "" || !isDigit(s[0]) { // as most: no attempt at those that begin with a year
		return readDate(s)
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02", "20060102T150405Z"} {
		if t, err := time.Parse(layout, s); err == nil && plausible(t.Year()) {
			return t, true
		}
	}
	return readDate(s)
}

// readDate reads a date word by word.
func readDate(s string) (time.Time, bool) {
	d := dateReader{year: -1}
	for _, tok := range strings.FieldsFunc(dropComments(s), func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		d.token(tok)
	}
	return d.date()
}

// dateReader collects the pieces of a date.
type dateReader struct {
	day, year       int
	month           time.Month
	hour, min, sec  int
	timed, zoned    bool
	offset          int
	afternoon, noon bool
}

// token takes one word.
func (d *dateReader) token(tok string) {
	switch {
	case tok == "":
	case strings.Count(tok, "-") == 2 && !d.timed && d.day == 0:
		// 12-Jan-2006
		for _, t := range strings.Split(tok, "-") {
			d.token(t)
		}
	case strings.Contains(tok, ":") && !d.timed:
		d.clock(tok)
	case isOneOf(tok[0], "+-") && d.timed:
		d.numericZone(tok)
	case tok[0] >= '0' && tok[0] <= '9':
		d.number(tok)
	default:
		d.word(tok)
	}
}

// clock takes "15:04", "15:04:05", "15:04:05.123", also with a zone at its end.
func (d *dateReader) clock(tok string) {
	if i := strings.IndexAny(tok, "+-"); i > 0 {
		defer d.numericZone(tok[i:])
		tok = tok[:i]
	}
	if z := strings.TrimRight(tok, "Z"); z != tok {
		tok, d.zoned = z, true
	}
	d.timed = true
	for i, p := range strings.SplitN(tok, ":", 3) {
		p, _, _ = strings.Cut(p, ".")
		n, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil {
			continue
		}
		switch i {
		case 0:
			d.hour = n
		case 1:
			d.min = n
		case 2:
			d.sec = n
		}
	}
}

// numericZone takes "+0200", "+02:00", "-8".
func (d *dateReader) numericZone(tok string) {
	digits := strings.ReplaceAll(tok[1:], ":", "")
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) > 4 {
		return
	}
	if len(digits) <= 2 {
		n *= 100
	}
	offset := (n/100*60 + n%100) * 60
	if offset > 24*3600 {
		return
	}
	if tok[0] == '-' {
		offset = -offset
	}
	d.offset, d.zoned = offset, true
}

// number takes a day, or else a year.
func (d *dateReader) number(tok string) {
	n, err := strconv.Atoi(strings.TrimRight(tok, "."))
	if err != nil {
		return
	}
	switch {
	case d.day == 0 && n >= 1 && n <= 31 && len(tok) <= 2:
		d.day = n
	case d.year < 0 && len(tok) <= 3 && d.month != 0:
		// RFC 5322 4.3: two digits are 1950 to 2049, three count from 1900.
		switch {
		case n < 50:
			n += 2000
		default:
			n += 1900
		}
		d.year = n
	case d.year < 0 && n >= 1000:
		d.year = n
	}
}

// word takes the name of a month or of a zone.
func (d *dateReader) word(tok string) {
	t := strings.ToLower(strings.Trim(tok, "."))
	if len(t) >= 3 && d.month == 0 {
		if i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", t[:3]); i >= 0 && i%3 == 0 {
			d.month = time.Month(i/3 + 1)
			return
		}
	}
	switch t {
	case "pm":
		d.afternoon = true
		return
	case "am":
		d.noon = true
		return
	}
	if !d.timed || d.zoned {
		return
	}
	for _, p := range []string{"gmt", "utc", "ut"} {
		if rest, ok := strings.CutPrefix(t, p); ok {
			d.zoned = true
			if rest != "" && isOneOf(rest[0], "+-") {
				d.numericZone(rest)
			}
			return
		}
	}
	hours, ok := map[string]int{
		"z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
		"cet": 1, "met": 1, "cest": 2, "mest": 2, "eet": 2, "eest": 3, "wet": 0, "west": 1, "bst": 1, "msk": 3, "jst": 9, "kst": 9,
	}[t]
	if ok {
		d.offset, d.zoned = hours*3600, true
	}
}

// date puts the pieces together.
func (d *dateReader) date() (time.Time, bool) {
	if d.afternoon && d.hour < 12 {
		d.hour += 12
	}
	if d.noon && d.hour == 12 {
		d.hour = 0
	}
	if d.day == 0 || d.month == 0 || !plausible(d.year) || d.hour > 24 || d.min > 59 || d.sec > 60 {
		return time.Time{}, false
	}
	zone := time.UTC
	if d.offset != 0 {
		zone = time.FixedZone("", d.offset)
	}
	return time.Date(d.year, d.month, d.day, d.hour, d.min, d.sec, 0, zone), true
}

// plausible keeps years to what RFC 3339 can write and mail can have.
func plausible(year int) bool { return year >= 1900 && year <= 9998 }

// dropComments removes comments.
func dropComments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var out strings.Builder
	depth := 0
	for _, r := range s {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteRune(r)
		}
	}
	return out.String()
}
