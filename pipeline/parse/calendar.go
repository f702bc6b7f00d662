package parse

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"

	"mxhook/pipeline"
)

const (
	calendarBytes     = 1 << 20 // of one part
	calendarParts     = 10
	calendarEntries   = 200
	calendarAttendees = 1000 // of one entry
)

func isCalendar(typ, filename string) bool {
	return typ == "text/calendar" || typ == "application/ics" || typ == "text/x-vcalendar" || strings.HasSuffix(strings.ToLower(filename), ".ics")
}

// calendar reads the entries of the calendar parts. Invitations carry the same calendar twice, for two kinds of readers:
// the second one is left out.
func (rd *reading) calendar(c *pipeline.Content, parts []part) {
	seen := make(map[[32]byte]bool)
	for _, a := range c.Attachments {
		if !isCalendar(a.ContentType, a.Filename) || seen[a.SHA256] || len(seen) == calendarParts {
			continue
		}
		seen[a.SHA256] = true
		octets, err := io.ReadAll(io.LimitReader(a.Open(), calendarBytes))
		if err != nil {
			// The decoders have no errors.
			panic(err)
		}
		label, method := "utf-8", ""
		for i := range parts {
			if p := &parts[i]; p.id == a.ID {
				if cs := p.media.raw("charset"); cs != nil {
					label = validUTF8(string(cs))
				}
				method = strings.ToUpper(clean(string(p.media.raw("method"))))
			}
		}
		entries, ok := readCalendar(decodeText(label, octets).text, a.ID, method, calendarEntries-len(c.Calendar))
		if !ok || a.Size > calendarBytes {
			rd.notes.add(noteCalendarBroken, a.ID, "not all of the calendar could be read")
		}
		c.Calendar = append(c.Calendar, entries...)
	}
}

// readCalendar returns the entries of an iCalendar stream (RFC 5545 3.4), at most max of them. Lines that it does not
// understand are left out; ok says that it began and ended as a calendar does.
func readCalendar(s, part, method string, max int) (entries []pipeline.CalendarEntry, ok bool) {
	r := calendarReader{part: part, method: method, max: max, zones: make(map[string]*calendarZone)}
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	for s != "" && !r.full {
		var l string
		l, s = contentLine(s)
		if p, isLine := parseProperty(l); isLine {
			r.property(p)
		} else if strings.TrimSpace(l) != "" {
			r.broken = true
		}
	}
	r.finish()
	return r.entries, r.began && len(r.open) == 0 && !r.broken && !r.full
}

// contentLine takes the first content line off s, unfolded (RFC 5545 3.1).
func contentLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	if rest == "" || rest[0] != ' ' && rest[0] != '\t' {
		return line, rest
	}
	var out strings.Builder
	out.WriteString(line)
	for rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		line, rest, _ = strings.Cut(rest[1:], "\n")
		out.WriteString(line)
	}
	return out.String(), rest
}

// property is one content line.
type property struct {
	name, value string
	params      map[string]string
}

// parseProperty takes a content line apart (RFC 5545 3.1, RFC 6868).
func parseProperty(l string) (property, bool) {
	p := property{params: map[string]string{}}
	i := strings.IndexAny(l, ";:")
	if i <= 0 {
		return p, false
	}
	p.name = strings.ToUpper(strings.TrimSpace(l[:i]))
	for l[i] == ';' {
		l = l[i+1:]
		quoted := false
		i = strings.IndexFunc(l, func(r rune) bool {
			if r == '"' {
				quoted = !quoted
			}
			return !quoted && (r == ';' || r == ':')
		})
		if i < 0 {
			return p, false
		}
		if name, value, ok := strings.Cut(l[:i], "="); ok && len(p.params) < 50 {
			value = strings.Trim(strings.TrimSpace(value), `"`)
			if strings.Contains(value, "^") {
				value = strings.NewReplacer("^n", "\n", "^'", `"`, "^^", "^").Replace(value)
			}
			p.params[strings.ToUpper(strings.TrimSpace(name))] = value
		}
	}
	p.value = l[i+1:]
	return p, true
}

// text returns the value of a property of text (RFC 5545 3.3.11).
func (p property) text() string {
	return strings.TrimSpace(strings.NewReplacer(`\n`, "\n", `\N`, "\n", `\,`, ",", `\;`, ";", `\\`, `\`, "\x00", "").Replace(p.value))
}

// pending is an entry that is being read. Its times are resolved when all zones are known.
type pending struct {
	at                            int
	start, end, due, recurrenceID *property
	duration                      string
}

type calendarReader struct {
	part, method string
	max          int
	entries      []pipeline.CalendarEntry
	times        []pending
	zones        map[string]*calendarZone
	// open are the names of the components that are open.
	open                []string
	zone                *calendarZone
	began, broken, full bool
}

func (r *calendarReader) property(p property) {
	value := strings.ToUpper(strings.TrimSpace(p.value))
	switch p.name {
	case "BEGIN":
		if len(r.open) > 20 {
			r.broken = true
			return
		}
		r.open = append(r.open, value)
		r.began = true
		r.begin(value)
		return
	case "END":
		for i := len(r.open) - 1; i >= 0; i-- {
			if r.open[i] == value {
				r.broken = r.broken || i < len(r.open)-1
				r.open = r.open[:i]
				return
			}
		}
		r.broken = true
		return
	}
	if len(r.open) == 0 {
		r.broken = true
		return
	}
	switch r.open[len(r.open)-1] {
	case "VCALENDAR":
		if p.name == "METHOD" {
			r.method = strings.ToUpper(p.text())
		}
	case "VEVENT", "VTODO", "VJOURNAL":
		r.entry(p)
	case "VTIMEZONE":
		if p.name == "TZID" && r.zone != nil && len(r.zones) < 100 {
			r.zones[p.text()] = r.zone
		}
	case "STANDARD", "DAYLIGHT":
		if r.zone != nil {
			r.zone.property(p)
		}
	}
}

func (r *calendarReader) begin(component string) {
	switch component {
	case "VEVENT", "VTODO", "VJOURNAL":
		if len(r.entries) >= r.max {
			r.full = true
			return
		}
		r.times = append(r.times, pending{at: len(r.entries)})
		r.entries = append(r.entries, pipeline.CalendarEntry{Part: r.part, Component: strings.ToLower(component[1:])})
	case "VTIMEZONE":
		r.zone = &calendarZone{}
	case "STANDARD", "DAYLIGHT":
		if r.zone != nil && len(r.zone.observances) < 100 {
			r.zone.observances = append(r.zone.observances, observance{})
		}
	}
}

// entry takes a property of the last entry.
func (r *calendarReader) entry(p property) {
	e, t := &r.entries[len(r.entries)-1], &r.times[len(r.times)-1]
	switch p.name {
	case "UID":
		first(&e.UID, cut(p.text(), 1000))
	case "SEQUENCE":
		if n, err := strconv.Atoi(strings.TrimSpace(p.value)); err == nil {
			e.Sequence = n
		}
	case "STATUS":
		first(&e.Status, strings.ToUpper(clean(p.text())))
	case "SUMMARY":
		first(&e.Summary, cut(p.text(), 10_000))
	case "DESCRIPTION":
		first(&e.Description, p.text())
	case "LOCATION":
		first(&e.Location, cut(p.text(), 10_000))
	case "URL":
		first(&e.URL, clean(p.value))
	case "RRULE":
		first(&e.Recurrence, clean(p.value))
	case "DTSTART":
		t.start = &p
	case "DTEND":
		t.end = &p
	case "DUE":
		t.due = &p
	case "DURATION":
		t.duration = strings.TrimSpace(p.value)
	case "RECURRENCE-ID":
		t.recurrenceID = &p
	case "ORGANIZER":
		if a := attendee(p); e.Organizer == nil {
			e.Organizer = &a
		}
	case "ATTENDEE":
		if len(e.Attendees) < calendarAttendees {
			e.Attendees = append(e.Attendees, attendee(p))
		}
	}
}

func attendee(p property) pipeline.Attendee {
	address := strings.TrimSpace(p.value)
	if len(address) >= 7 && strings.EqualFold(address[:7], "mailto:") {
		address = address[7:]
	} else if email := p.params["EMAIL"]; email != "" {
		address = email
	}
	return pipeline.Attendee{
		Name: clean(p.params["CN"]), Address: clean(address),
		Role: strings.ToUpper(clean(p.params["ROLE"])), Status: strings.ToUpper(clean(p.params["PARTSTAT"])),
	}
}

// finish fills in what is known only at the end: the method, and the times with their zones.
func (r *calendarReader) finish() {
	for _, t := range r.times {
		e := &r.entries[t.at]
		e.Method = r.method
		e.Start, e.RecurrenceID = r.time(t.start), r.time(t.recurrenceID)
		switch {
		case t.end != nil:
			e.End = r.time(t.end)
		case t.due != nil:
			e.End = r.time(t.due)
		case t.duration != "" && e.Start != nil:
			e.End = r.after(e.Start, t.duration)
		}
	}
}

const (
	calendarDay    = "2006-01-02"
	calendarMoment = "2006-01-02T15:04:05"
)

// time reads a date or a date and time (RFC 5545 3.3.4, 3.3.5); nil for anything else.
func (r *calendarReader) time(p *property) *pipeline.CalendarTime {
	if p == nil {
		return nil
	}
	v := strings.TrimSpace(p.value)
	if d, err := time.Parse("20060102", v); err == nil {
		return &pipeline.CalendarTime{Local: d.Format(calendarDay)}
	}
	utc := strings.HasSuffix(v, "Z")
	local, err := time.Parse("20060102T150405", strings.TrimSuffix(v, "Z"))
	if err != nil {
		r.broken = true
		return nil
	}
	t := &pipeline.CalendarTime{Local: local.Format(calendarMoment), Zone: clean(p.params["TZID"])}
	if utc {
		t.Zone, t.UTC = "UTC", local
		return t
	}
	t.UTC = r.instant(local, t.Zone)
	return t
}

// after returns the time a duration after another.
func (r *calendarReader) after(t *pipeline.CalendarTime, duration string) *pipeline.CalendarTime {
	days, d, ok := parseDuration(duration)
	if !ok {
		r.broken = true
		return nil
	}
	layout := calendarMoment
	if len(t.Local) == len(calendarDay) {
		layout = calendarDay
	}
	local, err := time.Parse(layout, t.Local)
	if err != nil {
		return nil
	}
	end := &pipeline.CalendarTime{Local: local.AddDate(0, 0, days).Add(d).Format(layout), Zone: t.Zone}
	if !t.UTC.IsZero() {
		end.UTC = t.UTC.AddDate(0, 0, days).Add(d)
	}
	return end
}

// parseDuration reads a duration (RFC 5545 3.3.6): days, and the time beyond them.
func parseDuration(s string) (days int, d time.Duration, ok bool) {
	s = strings.TrimPrefix(strings.ToUpper(s), "+")
	s, ok = strings.CutPrefix(s, "P")
	for ok && s != "" {
		if s[0] == 'T' {
			s = s[1:]
			continue
		}
		i := strings.IndexAny(s, "WDHMS")
		if i < 1 || i > 6 {
			return 0, 0, false
		}
		n, err := strconv.Atoi(s[:i])
		if err != nil || n < 0 {
			return 0, 0, false
		}
		switch s[i] {
		case 'W':
			days += 7 * n
		case 'D':
			days += n
		case 'H':
			d += time.Duration(n) * time.Hour
		case 'M':
			d += time.Duration(n) * time.Minute
		case 'S':
			d += time.Duration(n) * time.Second
		}
		s = s[i+1:]
	}
	return days, d, ok && days < 1_000_000
}

// instant returns the instant of a local time in a zone; zero when nobody knows the zone. A name of the IANA database
// counts more than what the calendar says of it: those definitions are often those of another year.
func (r *calendarReader) instant(local time.Time, tzid string) time.Time {
	if tzid == "" {
		return time.Time{}
	}
	z := r.zones[tzid]
	if z == nil {
		z = &calendarZone{}
		if len(r.zones) < 100 {
			r.zones[tzid] = z
		}
	}
	if !z.looked {
		z.looked, z.location = true, ianaZone(tzid)
	}
	if z.location != nil {
		return time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, z.location).UTC()
	}
	if offset, ok := z.offset(local); ok {
		return local.Add(-offset)
	}
	return time.Time{}
}

// ianaZone returns the zone of that name, also at the end of a path ("/example.com/2026/Europe/Berlin").
func ianaZone(tzid string) *time.Location {
	names := []string{tzid}
	if f := strings.Split(strings.Trim(tzid, "/"), "/"); len(f) > 2 {
		names = append(names, strings.Join(f[len(f)-2:], "/"), strings.Join(f[len(f)-3:], "/"))
	}
	for _, n := range names {
		if n == "" || n == "Local" || len(n) > 64 || bytes.ContainsAny([]byte(n), "\x00\\.") {
			continue
		}
		if l, err := time.LoadLocation(n); err == nil {
			return l
		}
	}
	return nil
}
