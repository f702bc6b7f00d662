# A webhook relay as people write it with aiosmtpd: the email package for the content, one POST while the client waits for
# its 250. It keeps nothing. Connections to the endpoint are kept open.
import asyncio
import base64
import email
import email.policy
import http.client
import json
import queue
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from aiosmtpd.smtp import SMTP

url = urllib.parse.urlsplit(sys.argv[1])
idle = queue.SimpleQueue()


def post(body):
    try:
        conn = idle.get_nowait()
    except queue.Empty:
        conn = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    conn.request("POST", url.path, body, {"content-type": "application/json"})
    resp = conn.getresponse()
    resp.read()
    idle.put(conn)
    if resp.status // 100 != 2:
        raise RuntimeError(f"status {resp.status}")


def deliver(envelope):
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    text, html, attachments = "", "", []
    for part in mail.walk():
        if part.is_multipart():
            continue
        if part.get_content_type() == "text/plain" and not part.is_attachment():
            text += part.get_content()
        elif part.get_content_type() == "text/html" and not part.is_attachment():
            html += part.get_content()
        else:
            attachments.append({
                "name": part.get_filename(), "content_type": part.get_content_type(),
                "content": base64.b64encode(part.get_payload(decode=True) or b"").decode(),
            })
    post(json.dumps({
        "from": envelope.mail_from, "to": envelope.rcpt_tos, "headers": [[k, str(v)] for k, v in mail.items()],
        "subject": str(mail["subject"]), "text": text, "html": html, "attachments": attachments,
    }))


class Handler:
    def __init__(self):
        self.pool = ThreadPoolExecutor(16)

    async def handle_DATA(self, server, session, envelope):
        try:
            await asyncio.get_running_loop().run_in_executor(self.pool, deliver, envelope)
        except Exception as e:
            return f"451 4.3.0 {e}"
        return "250 OK"


async def main():
    handler = Handler()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="relay.example.com", data_size_limit=64 << 20), "127.0.0.1", 0)
    print("%s:%d" % server.sockets[0].getsockname()[:2], flush=True)
    await server.serve_forever()


asyncio.run(main())
