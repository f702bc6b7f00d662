package main

// contentSuites judge what the parse stage reads.
func contentSuites() []suite {
	return []suite{
		{"mime", "messages against what their own project expects (gold) and what other parsers agree on (consensus)", playMIME},
		{"dsn", "bounces: the fields of each recipient, and the kind of every message", playDSN},
		{"tnef", "the files in winmail.dat containers", playTNEF},
		{"ics", "calendars, and the entries in them", playICS},
		{"reply", "what of a reply is new", playReply},
		{"reports", "complaints and aggregate reports", playReports},
	}
}

// contentFloors is what the tables of contentSuites have reached and must not lose, in per cent of the expectations.
func contentFloors() map[string]float64 {
	return map[string]float64{"read": 100, "gold": 96, "consensus": 97, "dsn": 96, "kinds": 95, "tnef": 100, "ics": 100, "reports": 95, "reply": 90}
}
