package parse

import (
	"strconv"
	"strings"
	"time"
)

// calendarZone is a zone as a calendar defines it (RFC 5545 3.6.5), for names that only the calendar knows, as those of
// Outlook.
type calendarZone struct {
	observances []observance
	// location is the zone of the IANA database by this name; looked says that it was looked for.
	location *time.Location
	looked   bool
}

// observance is standard time or daylight saving time: since when, each year from when, and the offset.
type observance struct {
	start  time.Time
	offset time.Duration
	// month is 0 when the observance does not come again. Day is the week of the month, -1 the last one.
	month   time.Month
	week    int
	weekday time.Weekday
	until   time.Time
	known   bool
}

// property takes a property of the last observance.
func (z *calendarZone) property(p property) {
	if len(z.observances) == 0 {
		return
	}
	o := &z.observances[len(z.observances)-1]
	switch p.name {
	case "DTSTART":
		if t, err := time.Parse("20060102T150405", strings.TrimSuffix(strings.TrimSpace(p.value), "Z")); err == nil {
			o.start = t
		}
	case "TZOFFSETTO":
		o.offset, o.known = utcOffset(strings.TrimSpace(p.value))
	case "RRULE":
		o.rule(p.value)
	}
}

// utcOffset reads "+0100" or "-053000" (RFC 5545 3.3.14).
func utcOffset(s string) (time.Duration, bool) {
	if len(s) != 5 && len(s) != 7 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	n, err := strconv.Atoi(s[1:5])
	if err != nil || n < 0 || n/100 > 23 || n%100 > 59 {
		return 0, false
	}
	d := time.Duration(n/100)*time.Hour + time.Duration(n%100)*time.Minute
	if s[0] == '-' {
		d = -d
	}
	return d, true
}

// rule reads the yearly rule of an observance: a month and a weekday in it.
func (o *observance) rule(s string) {
	var month, week int
	var day time.Weekday
	ok := false
	for _, f := range strings.Split(strings.ToUpper(s), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		switch name {
		case "BYMONTH":
			month, _ = strconv.Atoi(value)
		case "BYDAY":
			if len(value) < 3 {
				return
			}
			n, err := strconv.Atoi(value[:len(value)-2])
			i := strings.Index("SUMOTUWETHFRSA", value[len(value)-2:])
			if err != nil || i < 0 || i%2 != 0 || n == 0 || n < -5 || n > 5 {
				return
			}
			week, day, ok = n, time.Weekday(i/2), true
		case "UNTIL":
			if t, err := time.Parse("20060102T150405", strings.TrimSuffix(value, "Z")); err == nil {
				o.until = t
			}
		}
	}
	if ok && month >= 1 && month <= 12 {
		o.month, o.week, o.weekday = time.Month(month), week, day
	}
}

// onset returns when the observance last began before or at a local time; false when it never did.
func (o *observance) onset(local time.Time) (time.Time, bool) {
	if !o.known || o.start.After(local) {
		return time.Time{}, false
	}
	if o.month == 0 {
		return o.start, true
	}
	for year := local.Year(); year >= local.Year()-1; year-- {
		t := o.in(year)
		if !o.until.IsZero() && t.After(o.until) {
			t = o.in(min(o.until.Year(), year))
		}
		if !t.After(local) && !t.Before(o.start) {
			return t, true
		}
	}
	return o.start, true
}

// in returns when the observance begins in a year.
func (o *observance) in(year int) time.Time {
	first := time.Date(year, o.month, 1, o.start.Hour(), o.start.Minute(), o.start.Second(), 0, time.UTC)
	if o.week > 0 {
		return first.AddDate(0, 0, (int(o.weekday)-int(first.Weekday())+7)%7+7*(o.week-1))
	}
	last := first.AddDate(0, 1, -1)
	return last.AddDate(0, 0, -((int(last.Weekday())-int(o.weekday)+7)%7)+7*(o.week+1))
}

// offset returns the offset that is in force at a local time.
func (z *calendarZone) offset(local time.Time) (time.Duration, bool) {
	var latest time.Time
	var offset time.Duration
	found := false
	for i := range z.observances {
		o := &z.observances[i]
		if t, ok := o.onset(local); ok && (!found || t.After(latest)) {
			latest, offset, found = t, o.offset, true
		}
	}
	return offset, found
}
