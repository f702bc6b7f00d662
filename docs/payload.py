"""The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.

Fields may be added within version 1.
"""

from typing import Literal, TypedDict

Delivery = TypedDict("Delivery", {
    # the same at every attempt, and in the header field webhook-id
    "id": str,
    # name of the sink
    "sink": str,
    # names of the rules that chose the sink
    "rules": list[str],
    # labels that the rules gave the recipients
    "tags": list[str],
    # number of this attempt, from 1
    "attempt": int,
    # id of the delivery that a person replayed
    "replay_of": str | None,
})

Recipient = TypedDict("Recipient", {
    # the whole address
    "address": str,
    # its local part, without the tag
    "local": str,
    # what stands behind the separator in the local part, "42" of support+42
    "tag": str | None,
    # its domain
    "domain": str,
    # named groups of the recipient pattern that matched
    "captures": dict[str, str],
})

TLS = TypedDict("TLS", {
    # "TLS 1.3"
    "version": str,
    # name of the cipher suite (IANA)
    "cipher": str,
})

Client = TypedDict("Client", {
    # IPv4 or IPv6 address
    "ip": str | None,
    # TCP port of the client
    "port": int,
    # host name, when reverse and forward DNS agree
    "name": str | None,
    # null for clear text
    "tls": TLS | None,
})

Envelope = TypedDict("Envelope", {
    # reverse-path; "" is the null reverse-path of bounces
    "mail_from": str,
    # the recipients that rules sent to this sink, no others
    "recipients": list[Recipient],
    # the name that the client gave; unverified
    "helo": str,
    # the transaction asked for SMTPUTF8 (RFC 6531)
    "smtputf8": bool,
    # octets as received
    "size": int,
    # RFC 3339, UTC, milliseconds
    "received_at": str,
    # name of the listener
    "listener": str,
    # the host that connected
    "client": Client,
})

Sender = TypedDict("Sender", {
    # the domain of the From address is proven
    "verified": bool,
    # that domain; null when not verified
    "domain": str | None,
    # what proves it: "dmarc", or a trusted "arc" chain; null when not verified
    "by": Literal["dmarc", "arc"] | None,
})

SPF = TypedDict("SPF", {
    # as in RFC 8601 2.7.2; "none" also when it was not checked
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    # the domain that was asked
    "domain": str | None,
    # where the domain stood: "mailfrom" or "helo"
    "identity": Literal["mailfrom", "helo"] | None,
    # words for people; may be ""
    "reason": str,
})

DKIM = TypedDict("DKIM", {
    # as in RFC 8601 2.7.1
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    # d= of the signature
    "domain": str | None,
    # s= of the signature
    "selector": str | None,
    # a= of the signature
    "algorithm": str | None,
    # the domain goes with that of From (RFC 7489 3.1)
    "aligned": bool,
    # words for people; may be ""
    "reason": str,
})

DMARC = TypedDict("DMARC", {
    # "pass", "fail", "none", "temperror" or "permerror"
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    # the domain of From
    "domain": str | None,
    # "none", "quarantine" or "reject"; null when the domain has no record
    "policy": Literal["none", "quarantine", "reject"] | None,
    # SPF passed for a domain that goes with that of From
    "spf_aligned": bool,
    # a signature passed whose domain goes with that of From
    "dkim_aligned": bool,
})

ARC = TypedDict("ARC", {
    # "none", "pass" or "fail", or an error
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    # the domains of the chain, oldest first
    "sealers": list[str],
    # the chain passed and every sealer is trusted by the configuration
    "trusted": bool,
})

IPRev = TypedDict("IPRev", {
    # "pass" when the name leads back to the address
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    # host name that reverse DNS has for the client; unverified unless the result is "pass"
    "name": str | None,
})

Auth = TypedDict("Auth", {
    # the one verdict that is safe to act on
    "sender": Sender,
    # RFC 7208
    "spf": SPF,
    # one for each signature (RFC 6376)
    "dkim": list[DKIM],
    # RFC 7489
    "dmarc": DMARC,
    # RFC 8617
    "arc": ARC,
    # reverse DNS of the client (RFC 8601 3)
    "iprev": IPRev,
})

Address = TypedDict("Address", {
    # display name, decoded
    "name": str | None,
    # "local@domain"; "" for an entry without one
    "address": str,
})

Header = TypedDict("Header", {
    # as written
    "name": str,
    # decoded, on one line
    "value": str,
})

Reply = TypedDict("Reply", {
    # what is new
    "text": str,
    # what it answers
    "quoted": str,
    # what ends it
    "signature": str,
    # the rule that found the quote: "none", "marks" (">"), "attribution" ("On ... wrote:"), "header" (a copied header), "separator"
    "method": Literal["none", "marks", "attribution", "header", "separator"],
})

Summary = TypedDict("Summary", {
    # with angle brackets
    "message_id": str | None,
    # the author's date, RFC 3339
    "date": str | None,
    # decoded
    "subject": str | None,
    # as in message.from
    "from": list[Address],
    # as in message.to
    "to": list[Address],
    # as in message.cc
    "cc": list[Address],
})

Attachment = TypedDict("Attachment", {
    # its place in the structure, like "1.2"
    "id": str,
    # cleaned, never empty; still a name that a stranger chose
    "filename": str,
    # media type in lower case, without parameters, as the sender says
    "content_type": str,
    # "attachment" or "inline"
    "disposition": Literal["attachment", "inline"],
    # without angle brackets, for "cid:" links in the HTML
    "content_id": str | None,
    # decoded octets
    "size": int,
    # of the decoded octets, 64 hexadecimal digits
    "sha256": str,
    # the decoded octets in base64
    "content": str | None,
    # where the decoded octets can be fetched until the link ends
    "url": str | None,
    # why neither content nor url is there
    "omitted": str | None,
    # the name as the sender wrote it, when filename differs; never use it as a path
    "original_filename": str | None,
    # id of the attachment (winmail.dat) or text that this one was unpacked from
    "container": str | None,
    # what an attached message says of itself
    "message": Summary | None,
})

Time = TypedDict("Time", {
    # as written: "2026-11-21T12:00:00", or "2026-11-21" for a whole day
    "local": str,
    # name of the zone as written; null for none
    "zone": str | None,
    # the instant, RFC 3339; null for days, floating times and zones that nobody knows
    "utc": str | None,
})

Attendee = TypedDict("Attendee", {
    # display name
    "name": str | None,
    # mail address, or another URI as written
    "address": str,
    # "REQ-PARTICIPANT", "CHAIR", ...
    "role": str | None,
    # "ACCEPTED", "DECLINED", "TENTATIVE", "NEEDS-ACTION", ...
    "status": str | None,
})

Event = TypedDict("Event", {
    # id of the attachment that it stands in
    "part": str,
    # "REQUEST", "REPLY", "CANCEL", ... (RFC 5546)
    "method": str | None,
    # "event", "todo" or "journal"
    "component": Literal["event", "todo", "journal"],
    # which event it is, over all mails about it
    "uid": str | None,
    # which version of it, from 0
    "sequence": int,
    # "CONFIRMED", "TENTATIVE", "CANCELLED", ...
    "status": str | None,
    # one line
    "summary": str | None,
    # many lines
    "description": str | None,
    # words
    "location": str | None,
    # as written; untrusted
    "url": str | None,
    # when it begins
    "start": Time | None,
    # when it ends, or a todo is due; null when not given
    "end": Time | None,
    # RRULE as written (RFC 5545 3.3.10)
    "recurrence": str | None,
    # the instance of a recurring entry that this is about
    "recurrence_id": Time | None,
    # who invites
    "organizer": Attendee | None,
    # who is invited
    "attendees": list[Attendee],
})

List = TypedDict("List", {
    # List-Id without angle brackets (RFC 2919)
    "id": str | None,
    # the words before it
    "name": str | None,
    # URLs of List-Unsubscribe (RFC 2369), https and mailto
    "unsubscribe": list[str],
    # a POST to the https one unsubscribes (RFC 8058)
    "one_click": bool,
    # URL of List-Post
    "post": str | None,
    # URL of List-Archive
    "archive": str | None,
    # URL of List-Help
    "help": str | None,
})

Message = TypedDict("Message", {
    # Message-ID with its angle brackets
    "message_id": str | None,
    # the author's date in the author's zone, RFC 3339; null when missing or unreadable
    "date": str | None,
    # decoded; null when missing or empty
    "subject": str | None,
    # the authors as the header has them; forged unless auth.sender says otherwise
    "from": list[Address],
    # who sent it for the authors
    "sender": Address | None,
    # where answers should go
    "reply_to": list[Address],
    # as the header has it; not who receives it, see envelope.recipients
    "to": list[Address],
    # as the header has it
    "cc": list[Address],
    # as the header has it; most senders remove it
    "bcc": list[Address],
    # message ids with their angle brackets
    "in_reply_to": list[str],
    # message ids with their angle brackets, oldest first
    "references": list[str],
    # all header fields in order, decoded and unfolded
    "headers": list[Header],
    # the plain text, line ends LF; null when there is none
    "text": str | None,
    # the HTML as sent, untrusted; null when there is none
    "html": str | None,
    # "text", or "html" when text was made from the HTML; null without a text
    "text_from": Literal["text", "html"] | None,
    # the text taken apart; null unless the sink has "reply: true", without a text, and for texts over 1 MiB
    "reply": Reply | None,
    # all parts that are no body
    "attachments": list[Attachment],
    # the entries of calendar parts, which are attachments besides
    "calendar": list[Event],
    # of a mailing list or newsletter
    "list": List | None,
})

AutoReply = TypedDict("AutoReply", {
    # "auto-submitted" (RFC 3834), "disposition-notification", or the name of a header field of a vendor
    "reason": str,
    # the message that was answered, with angle brackets
    "original_message_id": str | None,
})

BounceRecipient = TypedDict("BounceRecipient", {
    # final recipient
    "address": str | None,
    # the recipient as the sender wrote it
    "original_address": str | None,
    # "failed", "delayed", "delivered", "relayed" or "expanded"
    "action": str | None,
    # enhanced status code (RFC 3463), "5.1.1": 5 is for good, 4 for now
    "status": str | None,
    # the other host's words
    "diagnostic": str | None,
    # the other host
    "remote_mta": str | None,
})

Original = TypedDict("Original", {
    # with angle brackets
    "message_id": str | None,
    # the author's date, RFC 3339
    "date": str | None,
    # decoded
    "subject": str | None,
    # as in message.from
    "from": list[Address],
    # as in message.to
    "to": list[Address],
    # the header fields that are returned
    "headers": list[Header],
})

Bounce = TypedDict("Bounce", {
    # "rfc3464" for a delivery status notification; "text" when it was taken from prose, and may be incomplete
    "method": Literal["rfc3464", "text"],
    # the host that reports
    "reporting_mta": str | None,
    # one for each recipient that is reported on
    "recipients": list[BounceRecipient],
    # what is returned of the message
    "original": Original | None,
})

Complaint = TypedDict("Complaint", {
    # "abuse", "fraud", "virus", "not-spam", "auth-failure", "opt-out", ... (RFC 5965)
    "feedback_type": str | None,
    # the reporter's program
    "user_agent": str | None,
    # reverse-path of the message complained about
    "mail_from": str | None,
    # its recipients
    "recipients": list[str],
    # its client
    "source_ip": str | None,
    # when the reporter got it, RFC 3339
    "arrival_date": str | None,
    # domains in it that are complained about
    "reported_domains": list[str],
    # URIs in it that are complained about
    "reported_uris": list[str],
    # what failed, for the type "auth-failure" (RFC 6591)
    "auth_failure": str | None,
    # what is returned of the message
    "original": Original | None,
})

DMARCRecord = TypedDict("DMARCRecord", {
    # the client
    "source_ip": str | None,
    # messages
    "count": int,
    # what was done: "none", "quarantine", "reject"
    "disposition": str | None,
    # aligned result: "pass" or "fail"
    "dkim": str | None,
    # aligned result: "pass" or "fail"
    "spf": str | None,
    # domain of From
    "header_from": str | None,
    # domain of the reverse-path
    "envelope_from": str | None,
    # domain of the recipient
    "envelope_to": str | None,
    # domains of the signatures
    "dkim_domains": list[str],
    # domains that SPF was checked for
    "spf_domains": list[str],
    # why the policy was not followed
    "reasons": list[str],
})

DMARCReport = TypedDict("DMARCReport", {
    # who reports
    "organization": str | None,
    # the reporter's address
    "email": str | None,
    # the reporter's id of the report
    "report_id": str | None,
    # of the period, RFC 3339, UTC
    "begin": str | None,
    # of the period, RFC 3339, UTC
    "end": str | None,
    # the domain that is reported on
    "domain": str | None,
    # p= that was published
    "policy": str | None,
    # sp= that was published
    "subdomain_policy": str | None,
    # the first 1000 rows
    "records": list[DMARCRecord],
    # how many more rows there are
    "records_omitted": int,
})

TLSFailure = TypedDict("TLSFailure", {
    # "certificate-expired", ... (RFC 8460 4.3)
    "result": str | None,
    # address of the sender
    "sending_ip": str | None,
    # name of our mail exchanger
    "receiving_mx": str | None,
    # its address
    "receiving_ip": str | None,
    # code or words of the sender
    "reason": str | None,
    # how many failed
    "sessions": int,
})

TLSPolicy = TypedDict("TLSPolicy", {
    # "sts", "tlsa" or "no-policy-found"
    "type": str | None,
    # the domain that is reported on
    "domain": str | None,
    # mail exchangers that the policy names
    "mx_hosts": list[str],
    # sessions that were encrypted as the policy asks
    "successes": int,
    # sessions that were not
    "failed": int,
    # each kind of failure
    "failures": list[TLSFailure],
})

TLSReport = TypedDict("TLSReport", {
    # who reports
    "organization": str | None,
    # the reporter's address
    "contact": str | None,
    # the reporter's id of the report
    "report_id": str | None,
    # of the period, RFC 3339, UTC
    "begin": str | None,
    # of the period, RFC 3339, UTC
    "end": str | None,
    # the outcome under each policy
    "policies": list[TLSPolicy],
})

Raw = TypedDict("Raw", {
    # octets
    "size": int,
    # of the octets, 64 hexadecimal digits
    "sha256": str,
    # base64; null unless the sink has "raw: true" or the mail could not be parsed
    "content": str | None,
    # where the octets can be fetched, when they are larger than the inline_limit
    "url": str | None,
    # why neither content nor url is there although the sink asks for the raw mail
    "omitted": str | None,
})

Problem = TypedDict("Problem", {
    # a stable word, like "charset-replaced"
    "code": str,
    # the place: id of a part, name of a header field, or ""
    "where": str,
    # words for people
    "detail": str,
})

Data = TypedDict("Data", {
    # 1
    "version": Literal[1],
    # message id (ULID), as in the 250 reply to the sender, the log and the console
    "id": str,
    # this delivery
    "delivery": Delivery,
    # "mail", or what the message is for: "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report"
    "kind": Literal["mail", "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report"],
    # what the SMTP transaction said; trust it for routing, whatever the header says
    "envelope": Envelope,
    # who sent it, as far as that is proven
    "auth": Auth,
    # the content; null when it could not be parsed, and then raw.content or raw.url is there
    "message": Message | None,
    # set for kind "auto_reply"
    "auto_reply": AutoReply | None,
    # set for kind "bounce"; null there too when the report cannot be read, as with the next ones
    "bounce": Bounce | None,
    # set for kind "complaint"
    "complaint": Complaint | None,
    # set for kind "dmarc_report"
    "dmarc_report": DMARCReport | None,
    # set for kind "tls_report"
    "tls_report": TLSReport | None,
    # the mail exactly as received
    "raw": Raw,
    # what was repaired, replaced or left out
    "problems": list[Problem],
})

Payload = TypedDict("Payload", {
    # always "mail.received"
    "type": Literal["mail.received"],
    # when the mail was received: RFC 3339, UTC, milliseconds
    "timestamp": str,
    # everything else
    "data": Data,
})
