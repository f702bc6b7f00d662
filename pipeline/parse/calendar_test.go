package parse

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mxhook/pipeline"
)

const outlookZone = `BEGIN:VTIMEZONE
TZID:W. Europe Standard Time
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE
`

func TestCalendarEntries(t *testing.T) {
	t.Parallel()
	in := "BEGIN:VCALENDAR\nMETHOD:request\nBEGIN:VEVENT\nUID:1@x\nSEQUENCE:2\nSTATUS:confirmed\nSUMMARY:Lunch\\, with\n  Ann\\nand Bob\n" +
		"DTSTART;TZID=\"W. Europe Standard Time\":20260701T120000\nDURATION:PT1H30M\nRRULE:FREQ=DAILY\n" +
		"ORGANIZER;CN=\"Doe; Jane^'s\":MAILTO:jane@example.org\nATTENDEE;ROLE=req-participant;PARTSTAT=ACCEPTED;CN=Bob:mailto:bob@example.org\n" +
		"BEGIN:VALARM\nSUMMARY:no\nEND:VALARM\nLOCATION:Here\nEND:VEVENT\n" + outlookZone +
		"BEGIN:VTODO\nDTSTART;VALUE=DATE:20261121\nDUE:20261122T100000Z\nEND:VTODO\nEND:VCALENDAR\n"
	got, ok := readCalendar(strings.ReplaceAll(in, "\n", "\r\n"), "2", "", 10)
	want := []pipeline.CalendarEntry{
		{
			Part: "2", Method: "REQUEST", Component: "event", UID: "1@x", Sequence: 2, Status: "CONFIRMED", Summary: "Lunch, with Ann\nand Bob",
			Location: "Here", Recurrence: "FREQ=DAILY",
			Start:     &pipeline.CalendarTime{Local: "2026-07-01T12:00:00", Zone: "W. Europe Standard Time", UTC: time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)},
			End:       &pipeline.CalendarTime{Local: "2026-07-01T13:30:00", Zone: "W. Europe Standard Time", UTC: time.Date(2026, 7, 1, 11, 30, 0, 0, time.UTC)},
			Organizer: &pipeline.Attendee{Name: `Doe; Jane"s`, Address: "jane@example.org"},
			Attendees: []pipeline.Attendee{{Name: "Bob", Address: "bob@example.org", Role: "REQ-PARTICIPANT", Status: "ACCEPTED"}},
		},
		{
			Part: "2", Method: "REQUEST", Component: "todo", Start: &pipeline.CalendarTime{Local: "2026-11-21"},
			End: &pipeline.CalendarTime{Local: "2026-11-22T10:00:00", Zone: "UTC", UTC: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)},
		},
	}
	if d := cmp.Diff(want, got); d != "" || !ok {
		t.Errorf("ok %v, (-want +got):\n%s", ok, d)
	}
}

func TestOutlookZonesFollowTheirRules(t *testing.T) {
	t.Parallel()
	for local, want := range map[string]string{
		"20260101T120000": "2026-01-01T11:00:00Z",
		"20260329T015959": "2026-03-29T00:59:59Z",
		"20260329T030000": "2026-03-29T01:00:00Z",
		"20261025T020000": "2026-10-25T00:00:00Z",
		"20261025T030000": "2026-10-25T02:00:00Z",
		"20261231T000000": "2026-12-30T23:00:00Z",
	} {
		got, _ := readCalendar("BEGIN:VCALENDAR\n"+outlookZone+"BEGIN:VEVENT\nDTSTART;TZID=W. Europe Standard Time:"+local+"\nEND:VEVENT\nEND:VCALENDAR\n", "1", "", 1)
		if s := got[0].Start.UTC.Format(time.RFC3339); s != want {
			t.Errorf("%s is %s, want %s", local, s, want)
		}
	}
}

func TestBrokenCalendarGivesWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in      string
		entries int
	}{
		"breaks off":    {"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:a", 1},
		"no calendar":   {"hello", 0},
		"lines between": {"BEGIN:VCALENDAR\nBEGIN:VEVENT\n???\nSUMMARY:a\nEND:VEVENT\nEND:VCALENDAR", 1},
		"wrong date":    {"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261399T000000\nEND:VEVENT\nEND:VCALENDAR", 1},
		"too many":      {"BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:VEVENT\nEND:VEVENT\n", 20) + "END:VCALENDAR", 10},
		"never closed":  {strings.Repeat("BEGIN:VEVENT\n", 100), 10},
	} {
		if got, ok := readCalendar(c.in, "1", "", 10); len(got) != c.entries || ok {
			t.Errorf("%s: %d entries, ok %v", name, len(got), ok)
		}
	}
}

func TestInvitationIsReadOnce(t *testing.T) {
	t.Parallel()
	cal := "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR"
	m := run(t, newStage(t, Limits{}), []byte("Content-Type: multipart/mixed; boundary=A\r\n\r\n--A\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n"+
		cal+"\r\n--A\r\nContent-Type: application/ics; name=invite.ics\r\n\r\n"+cal+"\r\n--A--\r\n"))
	if c := m.Content; len(c.Calendar) != 1 || c.Calendar[0].Method != "REQUEST" || c.Calendar[0].Part != "1" || len(c.Attachments) != 2 {
		t.Errorf("%+v, %d attachments", c.Calendar, len(c.Attachments))
	}
}

func TestZonesAreFoundByName(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{
		"UTC": true, "": false, "Local": false, "../../etc/passwd": false, "/etc/localtime": false, "No/Such": false,
	} {
		if got := ianaZone(name); (got != nil) != known {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzCalendar(f *testing.F) {
	f.Add("BEGIN:VCALENDAR\n" + outlookZone + "BEGIN:VEVENT\nDTSTART;TZID=W. Europe Standard Time:20260101T120000\nDURATION:P1DT1H\nEND:VEVENT\nEND:VCALENDAR")
	addCorpus(f, "ics", ".ics", func(b []byte) { f.Add(string(b)) })
	f.Fuzz(func(t *testing.T, s string) {
		entries := fuzzReader(t, len(s), func() []pipeline.CalendarEntry {
			entries, _ := readCalendar(validUTF8(s), "1", "", 20)
			return entries
		})
		if len(entries) > 20 {
			t.Errorf("%d entries", len(entries))
		}
		fuzzMail(t, Limits{}, []byte("Content-Type: text/calendar\r\n\r\n"+s))
	})
}
