// A webhook relay as people write it for Node: smtp-server in front, mailparser for the content, one POST while the client
// waits for its 250. It keeps nothing.
import http from 'node:http'
import { SMTPServer } from 'smtp-server'
import { simpleParser } from 'mailparser'

const url = new URL(process.argv[2])
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 })

function post(body) {
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (res) => {
      res.resume()
      res.on('end', () => (res.statusCode >= 200 && res.statusCode < 300 ? resolve() : reject(new Error(`status ${res.statusCode}`))))
    })
    req.on('error', reject)
    req.end(body)
  })
}

const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS', 'AUTH'],
  disableReverseLookup: true,
  size: 64 << 20,
  onData(stream, session, callback) {
    simpleParser(stream)
      .then((mail) =>
        post(JSON.stringify({
          from: session.envelope.mailFrom && session.envelope.mailFrom.address,
          to: session.envelope.rcptTo.map((r) => r.address),
          headers: mail.headerLines.map((h) => h.line),
          subject: mail.subject,
          text: mail.text,
          html: mail.html,
          attachments: mail.attachments.map((a) => ({ name: a.filename, content_type: a.contentType, content_id: a.cid, content: a.content.toString('base64') })),
        })),
      )
      .then(() => callback(null, 'OK'), (err) => callback(Object.assign(err, { responseCode: 451 })))
  },
})
server.on('error', (err) => console.error(err.message)) // a client that went away
server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.server.address().port}`))
