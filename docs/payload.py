"""The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.

Fields may be added within version 1.
"""

from typing import Literal, TypedDict

Delivery = TypedDict("Delivery", {
    "id": str,
    "sink": str,
    "rules": list[str],
    "tags": list[str],
    "attempt": int,
    "replay_of": str | None,
})

Recipient = TypedDict("Recipient", {
    "address": str,
    "local": str,
    "tag": str | None,
    "domain": str,
    "captures": dict[str, str],
})

TLS = TypedDict("TLS", {
    "version": str,
    "cipher": str,
})

Client = TypedDict("Client", {
    "ip": str | None,
    "port": int,
    "name": str | None,
    "tls": TLS | None,
})

Envelope = TypedDict("Envelope", {
    "mail_from": str,
    "recipients": list[Recipient],
    "helo": str,
    "smtputf8": bool,
    "size": int,
    "received_at": str,
    "listener": str,
    "client": Client,
})

Sender = TypedDict("Sender", {
    "verified": bool,
    "domain": str | None,
    "by": Literal["dmarc", "arc"] | None,
})

SPF = TypedDict("SPF", {
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    "domain": str | None,
    "identity": Literal["mailfrom", "helo"] | None,
    "reason": str,
})

DKIM = TypedDict("DKIM", {
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    "domain": str | None,
    "selector": str | None,
    "algorithm": str | None,
    "aligned": bool,
    "reason": str,
})

DMARC = TypedDict("DMARC", {
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    "domain": str | None,
    "policy": Literal["none", "quarantine", "reject"] | None,
    "spf_aligned": bool,
    "dkim_aligned": bool,
})

ARC = TypedDict("ARC", {
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    "sealers": list[str],
    "trusted": bool,
})

IPRev = TypedDict("IPRev", {
    "result": Literal["none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"],
    "name": str | None,
})

Auth = TypedDict("Auth", {
    "sender": Sender,
    "spf": SPF,
    "dkim": list[DKIM],
    "dmarc": DMARC,
    "arc": ARC,
    "iprev": IPRev,
})

Address = TypedDict("Address", {
    "name": str | None,
    "address": str,
})

Header = TypedDict("Header", {
    "name": str,
    "value": str,
})

Reply = TypedDict("Reply", {
    "text": str,
    "quoted": str,
    "signature": str,
    "method": Literal["none", "marks", "attribution", "header", "separator"],
})

Summary = TypedDict("Summary", {
    "message_id": str | None,
    "date": str | None,
    "subject": str | None,
    "from": list[Address],
    "to": list[Address],
    "cc": list[Address],
})

Attachment = TypedDict("Attachment", {
    "id": str,
    "filename": str,
    "content_type": str,
    "disposition": Literal["attachment", "inline"],
    "content_id": str | None,
    "size": int,
    "sha256": str,
    "content": str | None,
    "url": str | None,
    "omitted": str | None,
    "original_filename": str | None,
    "container": str | None,
    "message": Summary | None,
})

Time = TypedDict("Time", {
    "local": str,
    "zone": str | None,
    "utc": str | None,
})

Attendee = TypedDict("Attendee", {
    "name": str | None,
    "address": str,
    "role": str | None,
    "status": str | None,
})

Event = TypedDict("Event", {
    "part": str,
    "method": str | None,
    "component": Literal["event", "todo", "journal"],
    "uid": str | None,
    "sequence": int,
    "status": str | None,
    "summary": str | None,
    "description": str | None,
    "location": str | None,
    "url": str | None,
    "start": Time | None,
    "end": Time | None,
    "recurrence": str | None,
    "recurrence_id": Time | None,
    "organizer": Attendee | None,
    "attendees": list[Attendee],
})

List = TypedDict("List", {
    "id": str | None,
    "name": str | None,
    "unsubscribe": list[str],
    "one_click": bool,
    "post": str | None,
    "archive": str | None,
    "help": str | None,
})

Message = TypedDict("Message", {
    "message_id": str | None,
    "date": str | None,
    "subject": str | None,
    "from": list[Address],
    "sender": Address | None,
    "reply_to": list[Address],
    "to": list[Address],
    "cc": list[Address],
    "bcc": list[Address],
    "in_reply_to": list[str],
    "references": list[str],
    "headers": list[Header],
    "text": str | None,
    "html": str | None,
    "text_from": Literal["text", "html"] | None,
    "reply": Reply | None,
    "attachments": list[Attachment],
    "calendar": list[Event],
    "list": List | None,
})

AutoReply = TypedDict("AutoReply", {
    "reason": str,
    "original_message_id": str | None,
})

BounceRecipient = TypedDict("BounceRecipient", {
    "address": str | None,
    "original_address": str | None,
    "action": str | None,
    "status": str | None,
    "diagnostic": str | None,
    "remote_mta": str | None,
})

Original = TypedDict("Original", {
    "message_id": str | None,
    "date": str | None,
    "subject": str | None,
    "from": list[Address],
    "to": list[Address],
    "headers": list[Header],
})

Bounce = TypedDict("Bounce", {
    "method": Literal["rfc3464", "text"],
    "reporting_mta": str | None,
    "recipients": list[BounceRecipient],
    "original": Original | None,
})

Complaint = TypedDict("Complaint", {
    "feedback_type": str | None,
    "user_agent": str | None,
    "mail_from": str | None,
    "recipients": list[str],
    "source_ip": str | None,
    "arrival_date": str | None,
    "reported_domains": list[str],
    "reported_uris": list[str],
    "auth_failure": str | None,
    "original": Original | None,
})

DMARCRecord = TypedDict("DMARCRecord", {
    "source_ip": str | None,
    "count": int,
    "disposition": str | None,
    "dkim": str | None,
    "spf": str | None,
    "header_from": str | None,
    "envelope_from": str | None,
    "envelope_to": str | None,
    "dkim_domains": list[str],
    "spf_domains": list[str],
    "reasons": list[str],
})

DMARCReport = TypedDict("DMARCReport", {
    "organization": str | None,
    "email": str | None,
    "report_id": str | None,
    "begin": str | None,
    "end": str | None,
    "domain": str | None,
    "policy": str | None,
    "subdomain_policy": str | None,
    "records": list[DMARCRecord],
    "records_omitted": int,
})

TLSFailure = TypedDict("TLSFailure", {
    "result": str | None,
    "sending_ip": str | None,
    "receiving_mx": str | None,
    "receiving_ip": str | None,
    "reason": str | None,
    "sessions": int,
})

TLSPolicy = TypedDict("TLSPolicy", {
    "type": str | None,
    "domain": str | None,
    "mx_hosts": list[str],
    "successes": int,
    "failed": int,
    "failures": list[TLSFailure],
})

TLSReport = TypedDict("TLSReport", {
    "organization": str | None,
    "contact": str | None,
    "report_id": str | None,
    "begin": str | None,
    "end": str | None,
    "policies": list[TLSPolicy],
})

Raw = TypedDict("Raw", {
    "size": int,
    "sha256": str,
    "content": str | None,
    "url": str | None,
})

Problem = TypedDict("Problem", {
    "code": str,
    "where": str,
    "detail": str,
})

Data = TypedDict("Data", {
    "version": Literal[1],
    "id": str,
    "delivery": Delivery,
    "kind": Literal["mail", "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report"],
    "envelope": Envelope,
    "auth": Auth,
    "message": Message | None,
    "auto_reply": AutoReply | None,
    "bounce": Bounce | None,
    "complaint": Complaint | None,
    "dmarc_report": DMARCReport | None,
    "tls_report": TLSReport | None,
    "raw": Raw,
    "problems": list[Problem],
})

Payload = TypedDict("Payload", {
    "type": Literal["mail.received"],
    "timestamp": str,
    "data": Data,
})
