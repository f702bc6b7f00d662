// A Haraka queue plugin as people write it: the mail as Haraka has parsed it, one POST while the client waits for its 250.
const http = require('node:http')

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 })

exports.register = function () {
  this.register_hook('data', 'parse')
  this.register_hook('rcpt', 'take')
  this.register_hook('queue', 'post')
}

exports.take = (next) => next(OK)

exports.parse = function (next, connection) {
  connection.transaction.parse_body = true
  connection.transaction.attachment_hooks(() => {})
  next()
}

function bodies(part, type) {
  const own = part.ct && part.ct.startsWith(type) ? part.bodytext : ''
  return own + part.children.map((c) => bodies(c, type)).join('')
}

exports.post = function (next, connection) {
  const t = connection.transaction
  const body = JSON.stringify({
    from: t.mail_from.address, to: t.rcpt_to.map((r) => r.address), headers: t.header.headers_decoded,
    subject: t.header.get_decoded('subject'), text: bodies(t.body, 'text/plain'), html: bodies(t.body, 'text/html'),
  })
  const req = http.request(process.env.WEBHOOK_URL, { method: 'POST', agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (res) => {
    res.resume()
    res.on('end', () => (res.statusCode >= 200 && res.statusCode < 300 ? next(OK) : next(DENYSOFT, `status ${res.statusCode}`)))
  })
  req.on('error', (err) => next(DENYSOFT, err.message))
  req.end(body)
}
