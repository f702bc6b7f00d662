package rules

import "mxhook/pipeline"

// Word is one thing that a condition can say.
type Word struct {
	// Name is how it is written: "recipient.domain", "from[].name" for a field of a list's elements, "header".
	Name string
	// Type is text, number, yes/no, time, map of text, group, list of text, list of addresses, list of ..., or the
	// signature of a function.
	Type string
	// Meaning is one sentence without a full stop; Example is a whole condition.
	Meaning, Example string
	// Lower says that the value is always in lower case.
	Lower bool
	// Values are the only ones it can have; nil when there is no such list.
	Values []string
}

// Vocabulary lists the variables, in the order of the documentation. docs/rules.md is made from it.
func Vocabulary() []Word {
	results := []string{
		pipeline.ResultNone, pipeline.ResultPass, pipeline.ResultFail, pipeline.ResultSoftFail, pipeline.ResultNeutral,
		pipeline.ResultPolicy, pipeline.ResultTempError, pipeline.ResultPermError,
	}
	words := []Word{
		{Name: "recipient", Type: "group", Meaning: "the recipient that is being routed", Example: `recipient.domain == "example.com"`},
		{Name: "recipient.address", Type: "text", Lower: true, Meaning: "the whole address", Example: `recipient.address == "sales@example.com"`},
		{Name: "recipient.local", Type: "text", Lower: true, Meaning: "the local part without the tag", Example: `recipient.local startsWith "ticket-"`},
		{Name: "recipient.tag", Type: "text", Lower: true, Meaning: `the tag: "42" of support+42@example.com, "" without one`, Example: `recipient.tag != ""`},
		{Name: "recipient.domain", Type: "text", Lower: true, Meaning: "the domain, as A-labels", Example: `recipient.domain endsWith ".tenants.example.com"`},
		{Name: "recipient.captures", Type: "map of text", Meaning: `the named groups of the recipient pattern that matched; "" for a name that there is not`, Example: `recipient.captures["id"] == "7"`},

		{Name: "envelope", Type: "group", Meaning: "what the SMTP transaction said", Example: `envelope.listener == "mx"`},
		{Name: "envelope.id", Type: "text", Meaning: "the message id, as in the log", Example: `envelope.id startsWith "01"`},
		{Name: "envelope.mail_from", Type: "text", Lower: true, Meaning: `the reverse-path; "" is the null reverse-path`, Example: `envelope.mail_from == ""`},
		{Name: "envelope.recipients", Type: "list of recipients", Lower: true, Meaning: "all recipients of the transaction", Example: `len(envelope.recipients) > 10`},
		{Name: "envelope.helo", Type: "text", Lower: true, Meaning: "the argument of EHLO or HELO, unverified", Example: `envelope.helo == "mail.example.org"`},
		{Name: "envelope.size", Type: "number", Meaning: "octets of the message as received", Example: `envelope.size > 1000000`},
		{Name: "envelope.smtputf8", Type: "yes/no", Meaning: "the transaction asked for SMTPUTF8", Example: `envelope.smtputf8`},
		{Name: "envelope.listener", Type: "text", Meaning: "the name of the listener that the message came in on", Example: `envelope.listener == "submission"`},
		{Name: "envelope.received_at", Type: "time", Meaning: "when the message was received, UTC", Example: `envelope.received_at.Hour() < 6`},

		{Name: "client", Type: "group", Meaning: "the host that connected to us", Example: `client.tls`},
		{Name: "client.ip", Type: "text", Lower: true, Meaning: "its address", Example: `inNetwork(client.ip, "192.0.2.0/24")`},
		{Name: "client.port", Type: "number", Meaning: "its port", Example: `client.port < 1024`},
		{Name: "client.helo", Type: "text", Lower: true, Meaning: "the same as envelope.helo", Example: `client.helo endsWith ".example.org"`},
		{Name: "client.tls", Type: "yes/no", Meaning: "the session was protected by TLS", Example: `not client.tls`},
		{Name: "client.tls_version", Type: "text", Meaning: `"TLS 1.3", "TLS 1.2", or "" in clear text`, Example: `client.tls_version == "TLS 1.3"`},
		{Name: "client.tls_cipher", Type: "text", Meaning: "the cipher suite", Example: `client.tls_cipher startsWith "TLS_AES"`},

		{Name: "sender", Type: "group", Meaning: "the one verdict on the author that is safe to act on", Example: `sender.verified`},
		{Name: "sender.verified", Type: "yes/no", Meaning: "the author's domain is proven", Example: `sender.verified and sender.domain == "example.org"`},
		{Name: "sender.domain", Type: "text", Lower: true, Meaning: "the proven domain", Example: `sender.domain in ["example.org", "example.net"]`},
		{Name: "sender.by", Type: "text", Values: []string{"dmarc", "arc", ""}, Meaning: "what proved it", Example: `sender.by == "dmarc"`},

		{Name: "auth", Type: "group", Meaning: "the authentication results, method by method", Example: `auth.dmarc.result == "pass"`},
		{Name: "auth.spf", Type: "group", Meaning: "SPF (RFC 7208)", Example: `auth.spf.result == "pass"`},
		{Name: "auth.spf.result", Type: "text", Values: results, Meaning: "the result", Example: `auth.spf.result in ["fail", "softfail"]`},
		{Name: "auth.spf.domain", Type: "text", Lower: true, Meaning: "the domain that was checked", Example: `auth.spf.domain == "example.org"`},
		{Name: "auth.spf.identity", Type: "text", Values: []string{"mailfrom", "helo", ""}, Meaning: "what was checked", Example: `auth.spf.identity == "mailfrom"`},
		{Name: "auth.dkim", Type: "list of signatures", Meaning: "DKIM (RFC 6376), one element a signature", Example: `any(auth.dkim, .result == "pass" and .aligned)`},
		{Name: "auth.dkim[].result", Type: "text", Values: results, Meaning: "the result", Example: `any(auth.dkim, .result == "fail")`},
		{Name: "auth.dkim[].domain", Type: "text", Lower: true, Meaning: "the signing domain", Example: `any(auth.dkim, .result == "pass" and .domain == "example.org")`},
		{Name: "auth.dkim[].selector", Type: "text", Lower: true, Meaning: "the selector", Example: `any(auth.dkim, .selector == "s1")`},
		{Name: "auth.dkim[].algorithm", Type: "text", Lower: true, Meaning: "the algorithm", Example: `any(auth.dkim, .algorithm == "rsa-sha1")`},
		{Name: "auth.dkim[].aligned", Type: "yes/no", Meaning: "the signing domain is aligned with the author's", Example: `any(auth.dkim, .aligned)`},
		{Name: "auth.dmarc", Type: "group", Meaning: "DMARC", Example: `auth.dmarc.result == "pass"`},
		{Name: "auth.dmarc.result", Type: "text", Values: results, Meaning: "the result", Example: `auth.dmarc.result == "fail"`},
		{Name: "auth.dmarc.domain", Type: "text", Lower: true, Meaning: "the author domain", Example: `auth.dmarc.domain == "example.org"`},
		{Name: "auth.dmarc.policy", Type: "text", Values: []string{"none", "quarantine", "reject", ""}, Meaning: `the policy that applies; "" when the domain has no record`, Example: `auth.dmarc.policy == "reject"`},
		{Name: "auth.dmarc.spf_aligned", Type: "yes/no", Meaning: "SPF passed and is aligned", Example: `auth.dmarc.spf_aligned`},
		{Name: "auth.dmarc.dkim_aligned", Type: "yes/no", Meaning: "a DKIM signature passed and is aligned", Example: `auth.dmarc.dkim_aligned`},
		{Name: "auth.arc", Type: "group", Meaning: "ARC (RFC 8617)", Example: `auth.arc.trusted`},
		{Name: "auth.arc.result", Type: "text", Values: results, Meaning: "the result", Example: `auth.arc.result == "pass"`},
		{Name: "auth.arc.sealers", Type: "list of text", Lower: true, Meaning: "the domains of the chain, oldest first", Example: `"lists.example.org" in auth.arc.sealers`},
		{Name: "auth.arc.trusted", Type: "yes/no", Meaning: "the chain is valid and every sealer is one that is trusted", Example: `auth.arc.trusted`},
		{Name: "auth.iprev", Type: "group", Meaning: "the reverse name of the client (RFC 8601 2.7.3)", Example: `auth.iprev.result == "pass"`},
		{Name: "auth.iprev.result", Type: "text", Values: results, Meaning: "the result", Example: `auth.iprev.result != "pass"`},
		{Name: "auth.iprev.name", Type: "text", Lower: true, Meaning: `the verified host name, "" without one`, Example: `auth.iprev.name endsWith ".example.org"`},

		{Name: "subject", Type: "text", Meaning: "the Subject field, decoded", Example: `subject matches "(?i)\\binvoice\\b"`},
		{Name: "from", Type: "list of addresses", Lower: true, Meaning: "the authors of the From field, unverified: see sender", Example: `from endsWith "@example.org"`},
		{Name: "to", Type: "list of addresses", Lower: true, Meaning: "the To field; the recipient is in recipient", Example: `"team@example.com" in to`},
		{Name: "size", Type: "number", Meaning: "the same as envelope.size", Example: `size > 10 * 1024 * 1024`},
		{Name: "attachments", Type: "list of attachments", Meaning: "everything that is not body text", Example: `len(attachments) > 0`},
		{Name: "attachments[].filename", Type: "text", Meaning: "the file name, cleaned", Example: `any(attachments, .filename startsWith "scan")`},
		{Name: "attachments[].extension", Type: "text", Lower: true, Meaning: "the file name behind its last dot", Example: `any(attachments, .extension in ["pdf", "docx"])`},
		{Name: "attachments[].content_type", Type: "text", Lower: true, Meaning: "the declared media type", Example: `any(attachments, .content_type startsWith "image/")`},
		{Name: "attachments[].disposition", Type: "text", Values: []string{"attachment", "inline", ""}, Meaning: "how it is meant to be shown", Example: `any(attachments, .disposition == "attachment")`},
		{Name: "attachments[].size", Type: "number", Meaning: "decoded octets", Example: `any(attachments, .size > 1024 * 1024)`},
		{Name: "kind", Type: "text", Meaning: "what sort of mail it is", Example: `kind in ["bounce", "complaint"]`, Values: []string{
			pipeline.KindMail, pipeline.KindAutoReply, pipeline.KindBounce, pipeline.KindComplaint, pipeline.KindDMARCReport, pipeline.KindTLSReport,
		}},
		{Name: "now", Type: "time", Meaning: "when the message was received, UTC: the same at every evaluation", Example: `now.In(timezone("Europe/Berlin")).Hour() >= 18`},
		{Name: "header", Type: "header(name) text", Meaning: `the first header field of that name, decoded; "" without one`, Example: `header("List-Id") contains "dev.example.org"`},
		{Name: "headers", Type: "headers(name) list of text", Meaning: "all header fields of that name, decoded", Example: `headers("X-Label") contains "urgent"`},
		{Name: "inNetwork", Type: "inNetwork(ip, network...) yes/no", Meaning: "the address lies in one of the networks", Example: `inNetwork(client.ip, "192.0.2.0/24", "2001:db8::/32")`},
		{Name: "token", Type: "token(address, name) text", Meaning: `what a signed address carries; "" when it is not signed, not genuine or out of date`, Example: `token(recipient.address, "reply") != ""`},
	}
	for _, list := range []string{"from", "to"} {
		words = append(words,
			Word{Name: list + "[].address", Type: "text", Lower: true, Meaning: "the address", Example: `any(` + list + `, .address == "a@example.org")`},
			Word{Name: list + "[].local", Type: "text", Lower: true, Meaning: "what stands before the last @", Example: `any(` + list + `, .local == "noreply")`},
			Word{Name: list + "[].domain", Type: "text", Lower: true, Meaning: "what stands behind the last @", Example: `any(` + list + `, .domain == "example.org")`},
			Word{Name: list + "[].name", Type: "text", Meaning: "the display name, decoded", Example: `any(` + list + `, .name contains "Support")`},
		)
	}
	for _, w := range words[1:6] {
		w.Name = "envelope.recipients[]" + w.Name[len("recipient"):]
		w.Example = "any(envelope.recipients, " + w.Example[len("recipient"):] + ")"
		words = append(words, w)
	}
	return words
}

// Functions lists the functions that a condition may call, in the order of the documentation.
func Functions() []Word {
	words := builtins()
	for _, f := range ownFunctions() {
		words = append(words, f.Word)
	}
	return words
}

// builtins are those of the expression language whose cost is bounded by their input.
func builtins() []Word {
	return []Word{
		{Name: "any", Type: "any(list, condition) yes/no", Meaning: "the condition holds for an element", Example: `any(from, .domain == "example.org")`},
		{Name: "all", Type: "all(list, condition) yes/no", Meaning: "it holds for all of them", Example: `all(attachments, .size < 1000)`},
		{Name: "none", Type: "none(list, condition) yes/no", Meaning: "it holds for none of them", Example: `none(auth.dkim, .result == "pass")`},
		{Name: "one", Type: "one(list, condition) yes/no", Meaning: "it holds for exactly one of them", Example: `one(attachments, .extension == "pdf")`},
		{Name: "count", Type: "count(list, condition) number", Meaning: "for how many elements it holds", Example: `count(attachments, .disposition == "attachment") > 3`},
		{Name: "filter", Type: "filter(list, condition) list", Meaning: "the elements for which it holds", Example: `len(filter(to, .domain == "example.com")) > 1`},
		{Name: "len", Type: "len(list or text) number", Meaning: "the number of elements or characters", Example: `len(to) > 20`},
		{Name: "lower", Type: "lower(text) text", Meaning: "in lower case", Example: `lower(subject) contains "invoice"`},
		{Name: "upper", Type: "upper(text) text", Meaning: "in upper case", Example: `upper(subject) == subject`},
		{Name: "trim", Type: "trim(text) text", Meaning: "without blanks at both ends", Example: `trim(subject) == ""`},
		{Name: "trimPrefix", Type: "trimPrefix(text, prefix) text", Meaning: "without the prefix", Example: `trimPrefix(subject, "Re: ") == "hello"`},
		{Name: "trimSuffix", Type: "trimSuffix(text, suffix) text", Meaning: "without the suffix", Example: `trimSuffix(recipient.domain, ".example.com") == "a"`},
		{Name: "indexOf", Type: "indexOf(text, part) number", Meaning: "where the part begins, -1 when it is not there", Example: `indexOf(subject, "[") == 0`},
		{Name: "int", Type: "int(text) number", Meaning: "the number that the text is; an error when it is none", Example: `recipient.tag matches "^[0-9]+$" and int(recipient.tag) > 1000`},
		{Name: "string", Type: "string(value) text", Meaning: "the value as text", Example: `string(client.port) endsWith "5"`},
		{Name: "date", Type: `date("2026-11-21") time`, Meaning: "a fixed time", Example: `now < date("2027-01-01")`},
		{Name: "duration", Type: `duration("1h") duration`, Meaning: "a length of time", Example: `now - date("2026-01-01") > duration("24h")`},
		{Name: "timezone", Type: `timezone("Europe/Berlin") zone`, Meaning: "a fixed time zone", Example: `now.In(timezone("Europe/Berlin")).Weekday().String() in ["Saturday", "Sunday"]`},
	}
}

// methods are those of a time that a condition may call.
func methods() []string {
	return []string{"Year", "Month", "Day", "YearDay", "Weekday", "Hour", "Minute", "Second", "Unix", "In", "UTC", "Before", "After", "Equal", "Add", "Sub", "Hours", "Minutes", "String"}
}
