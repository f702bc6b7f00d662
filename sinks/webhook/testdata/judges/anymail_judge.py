"""Gives requests to django-anymail and prints what it makes of them. Standard input: a JSON object a line, {id, format, header,
body (base64), key, url, mail (base64)}; standard output: {id, status, fields, reference}, a line each."""
import base64
import hashlib
import json
import sys
import warnings

import django
from django.conf import settings

settings.configure(
    DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=[], DEFAULT_CHARSET="utf-8", LOGGING_CONFIG=None,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
)
django.setup()
warnings.simplefilter("ignore")

from anymail.inbound import AnymailInboundMessage  # noqa: E402
from anymail.signals import inbound  # noqa: E402
from anymail.webhooks.mailgun import MailgunInboundWebhookView  # noqa: E402
from anymail.webhooks.mandrill import MandrillCombinedWebhookView  # noqa: E402
from anymail.webhooks.postmark import PostmarkInboundWebhookView  # noqa: E402
from anymail.webhooks.sendgrid import SendGridInboundWebhookView  # noqa: E402
from django.core.exceptions import SuspiciousOperation  # noqa: E402
from django.test import RequestFactory  # noqa: E402

seen = []


def receive(sender, event, esp_name, **kwargs):
    seen.append(event.message)


inbound.connect(receive)


def view(r):
    if r["format"].startswith("mailgun"):
        return MailgunInboundWebhookView.as_view(webhook_signing_key=r["key"])
    if r["format"].startswith("sendgrid"):
        return SendGridInboundWebhookView.as_view()
    if r["format"].startswith("postmark"):
        return PostmarkInboundWebhookView.as_view()
    return MandrillCombinedWebhookView.as_view(webhook_key=r["key"], webhook_url=r["url"])


def fields(m):
    files = []
    for part in list(m.attachments) + list(m.inline_attachments.values()):
        # anymail makes texts and messages of the octets, which do not come back as they were.
        binary = part.get_content_maintype() not in ("text", "message", "multipart")
        digest = hashlib.sha256(part.get_content_bytes()).hexdigest() if binary else ""
        files.append([part.get_filename() or "", digest])
    return {
        "sender": m.envelope_sender, "recipient": m.envelope_recipient, "text": m.text, "html": m.html,
        "subject": m.subject, "files": files,
    }


for line in sys.stdin:
    r = json.loads(line)
    extra = {"HTTP_" + k.upper().replace("-", "_"): v for k, v in r["header"].items()}
    request = RequestFactory().generic(
        "POST", r["url"], data=base64.b64decode(r["body"]), content_type=r["header"]["Content-Type"], secure=True, **extra)
    seen.clear()
    out = {"id": r["id"]}
    if r.get("mail"):  # the judge's own reading of the mail, where it reads the whole of it
        try:
            out["reference"] = fields(AnymailInboundMessage.parse_raw_mime(base64.b64decode(r["mail"]).decode("utf-8")))
        except Exception:
            pass
    try:
        out["status"] = view(r)(request).status_code
        if seen:
            out["fields"] = fields(seen[0])
    except SuspiciousOperation as e:
        out["status"], out["why"] = 400, str(e)
    except Exception as e:  # what the judge cannot read is for the test to judge
        out["status"], out["why"] = 500, repr(e)
    print(json.dumps(out))
