// The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.
// Fields may be added within version 1.

export interface Delivery {
  /** the same at every attempt, and in the header field webhook-id */
  id: string;
  /** name of the sink */
  sink: string;
  /** names of the rules that chose the sink */
  rules: string[];
  /** labels that the rules gave the recipients */
  tags: string[];
  /** number of this attempt, from 1 */
  attempt: number;
  /** id of the delivery that a person replayed */
  replay_of: string | null;
}

export interface Recipient {
  /** the whole address */
  address: string;
  /** its local part, without the tag */
  local: string;
  /** what stands behind the separator in the local part, "42" of support+42 */
  tag: string | null;
  /** its domain */
  domain: string;
  /** named groups of the recipient pattern that matched */
  captures: Record<string, string>;
}

export interface TLS {
  /** "TLS 1.3" */
  version: string;
  /** name of the cipher suite (IANA) */
  cipher: string;
}

export interface Client {
  /** IPv4 or IPv6 address */
  ip: string | null;
  /** TCP port of the client */
  port: number;
  /** host name, when reverse and forward DNS agree */
  name: string | null;
  /** null for clear text */
  tls: TLS | null;
}

export interface Envelope {
  /** reverse-path; "" is the null reverse-path of bounces */
  mail_from: string;
  /** the recipients that rules sent to this sink, no others */
  recipients: Recipient[];
  /** the name that the client gave; unverified */
  helo: string;
  /** the transaction asked for SMTPUTF8 (RFC 6531) */
  smtputf8: boolean;
  /** octets as received */
  size: number;
  /** RFC 3339, UTC, milliseconds */
  received_at: string;
  /** name of the listener */
  listener: string;
  /** the host that connected */
  client: Client;
}

export interface Sender {
  /** the domain of the From address is proven */
  verified: boolean;
  /** that domain; null when not verified */
  domain: string | null;
  /** what proves it: "dmarc", or a trusted "arc" chain; null when not verified */
  by: "dmarc" | "arc" | null;
}

export interface SPF {
  /** as in RFC 8601 2.7.2; "none" also when it was not checked */
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  /** the domain that was asked */
  domain: string | null;
  /** where the domain stood: "mailfrom" or "helo" */
  identity: "mailfrom" | "helo" | null;
  /** words for people; may be "" */
  reason: string;
}

export interface DKIM {
  /** as in RFC 8601 2.7.1 */
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  /** d= of the signature */
  domain: string | null;
  /** s= of the signature */
  selector: string | null;
  /** a= of the signature */
  algorithm: string | null;
  /** the domain goes with that of From (RFC 7489 3.1) */
  aligned: boolean;
  /** words for people; may be "" */
  reason: string;
}

export interface DMARC {
  /** "pass", "fail", "none", "temperror" or "permerror" */
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  /** the domain of From */
  domain: string | null;
  /** "none", "quarantine" or "reject"; null when the domain has no record */
  policy: "none" | "quarantine" | "reject" | null;
  /** SPF passed for a domain that goes with that of From */
  spf_aligned: boolean;
  /** a signature passed whose domain goes with that of From */
  dkim_aligned: boolean;
}

export interface ARC {
  /** "none", "pass" or "fail", or an error */
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  /** the domains of the chain, oldest first */
  sealers: string[];
  /** the chain passed and every sealer is trusted by the configuration */
  trusted: boolean;
}

export interface IPRev {
  /** "pass" when the name leads back to the address */
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  /** host name that reverse DNS has for the client; unverified unless the result is "pass" */
  name: string | null;
}

export interface Auth {
  /** the one verdict that is safe to act on */
  sender: Sender;
  /** RFC 7208 */
  spf: SPF;
  /** one for each signature (RFC 6376) */
  dkim: DKIM[];
  /** RFC 7489 */
  dmarc: DMARC;
  /** RFC 8617 */
  arc: ARC;
  /** reverse DNS of the client (RFC 8601 3) */
  iprev: IPRev;
}

export interface Address {
  /** display name, decoded */
  name: string | null;
  /** "local@domain"; "" for an entry without one */
  address: string;
}

export interface Header {
  /** as written */
  name: string;
  /** decoded, on one line */
  value: string;
}

export interface Reply {
  /** what is new */
  text: string;
  /** what it answers */
  quoted: string;
  /** what ends it */
  signature: string;
  /** the rule that found the quote: "none", "marks" (">"), "attribution" ("On ... wrote:"), "header" (a copied header), "separator" */
  method: "none" | "marks" | "attribution" | "header" | "separator";
}

export interface Summary {
  /** with angle brackets */
  message_id: string | null;
  /** the author's date, RFC 3339 */
  date: string | null;
  /** decoded */
  subject: string | null;
  /** as in message.from */
  from: Address[];
  /** as in message.to */
  to: Address[];
  /** as in message.cc */
  cc: Address[];
}

export interface Attachment {
  /** its place in the structure, like "1.2" */
  id: string;
  /** cleaned, never empty; still a name that a stranger chose */
  filename: string;
  /** media type in lower case, without parameters, as the sender says */
  content_type: string;
  /** "attachment" or "inline" */
  disposition: "attachment" | "inline";
  /** without angle brackets, for "cid:" links in the HTML */
  content_id: string | null;
  /** decoded octets */
  size: number;
  /** of the decoded octets, 64 hexadecimal digits */
  sha256: string;
  /** the decoded octets in base64 */
  content: string | null;
  /** where the decoded octets can be fetched until the link ends */
  url: string | null;
  /** why neither content nor url is there */
  omitted: string | null;
  /** the name as the sender wrote it, when filename differs; never use it as a path */
  original_filename: string | null;
  /** id of the attachment (winmail.dat) or text that this one was unpacked from */
  container: string | null;
  /** what an attached message says of itself */
  message: Summary | null;
}

export interface Time {
  /** as written: "2026-11-21T12:00:00", or "2026-11-21" for a whole day */
  local: string;
  /** name of the zone as written; null for none */
  zone: string | null;
  /** the instant, RFC 3339; null for days, floating times and zones that nobody knows */
  utc: string | null;
}

export interface Attendee {
  /** display name */
  name: string | null;
  /** mail address, or another URI as written */
  address: string;
  /** "REQ-PARTICIPANT", "CHAIR", ... */
  role: string | null;
  /** "ACCEPTED", "DECLINED", "TENTATIVE", "NEEDS-ACTION", ... */
  status: string | null;
}

export interface Event {
  /** id of the attachment that it stands in */
  part: string;
  /** "REQUEST", "REPLY", "CANCEL", ... (RFC 5546) */
  method: string | null;
  /** "event", "todo" or "journal" */
  component: "event" | "todo" | "journal";
  /** which event it is, over all mails about it */
  uid: string | null;
  /** which version of it, from 0 */
  sequence: number;
  /** "CONFIRMED", "TENTATIVE", "CANCELLED", ... */
  status: string | null;
  /** one line */
  summary: string | null;
  /** many lines */
  description: string | null;
  /** words */
  location: string | null;
  /** as written; untrusted */
  url: string | null;
  /** when it begins */
  start: Time | null;
  /** when it ends, or a todo is due; null when not given */
  end: Time | null;
  /** RRULE as written (RFC 5545 3.3.10) */
  recurrence: string | null;
  /** the instance of a recurring entry that this is about */
  recurrence_id: Time | null;
  /** who invites */
  organizer: Attendee | null;
  /** who is invited */
  attendees: Attendee[];
}

export interface List {
  /** List-Id without angle brackets (RFC 2919) */
  id: string | null;
  /** the words before it */
  name: string | null;
  /** URLs of List-Unsubscribe (RFC 2369), https and mailto */
  unsubscribe: string[];
  /** a POST to the https one unsubscribes (RFC 8058) */
  one_click: boolean;
  /** URL of List-Post */
  post: string | null;
  /** URL of List-Archive */
  archive: string | null;
  /** URL of List-Help */
  help: string | null;
}

export interface Message {
  /** Message-ID with its angle brackets */
  message_id: string | null;
  /** the author's date in the author's zone, RFC 3339; null when missing or unreadable */
  date: string | null;
  /** decoded; null when missing or empty */
  subject: string | null;
  /** the authors as the header has them; forged unless auth.sender says otherwise */
  from: Address[];
  /** who sent it for the authors */
  sender: Address | null;
  /** where answers should go */
  reply_to: Address[];
  /** as the header has it; not who receives it, see envelope.recipients */
  to: Address[];
  /** as the header has it */
  cc: Address[];
  /** as the header has it; most senders remove it */
  bcc: Address[];
  /** message ids with their angle brackets */
  in_reply_to: string[];
  /** message ids with their angle brackets, oldest first */
  references: string[];
  /** all header fields in order, decoded and unfolded */
  headers: Header[];
  /** the plain text, line ends LF; null when there is none */
  text: string | null;
  /** the HTML as sent, untrusted; null when there is none */
  html: string | null;
  /** "text", or "html" when text was made from the HTML; null without a text */
  text_from: "text" | "html" | null;
  /** the text taken apart; null unless the sink has "reply: true", without a text, and for texts over 1 MiB */
  reply: Reply | null;
  /** all parts that are no body */
  attachments: Attachment[];
  /** the entries of calendar parts, which are attachments besides */
  calendar: Event[];
  /** of a mailing list or newsletter */
  list: List | null;
}

export interface AutoReply {
  /** "auto-submitted" (RFC 3834), "disposition-notification", or the name of a header field of a vendor */
  reason: string;
  /** the message that was answered, with angle brackets */
  original_message_id: string | null;
}

export interface BounceRecipient {
  /** final recipient */
  address: string | null;
  /** the recipient as the sender wrote it */
  original_address: string | null;
  /** "failed", "delayed", "delivered", "relayed" or "expanded" */
  action: string | null;
  /** enhanced status code (RFC 3463), "5.1.1": 5 is for good, 4 for now */
  status: string | null;
  /** the other host's words */
  diagnostic: string | null;
  /** the other host */
  remote_mta: string | null;
}

export interface Original {
  /** with angle brackets */
  message_id: string | null;
  /** the author's date, RFC 3339 */
  date: string | null;
  /** decoded */
  subject: string | null;
  /** as in message.from */
  from: Address[];
  /** as in message.to */
  to: Address[];
  /** the header fields that are returned */
  headers: Header[];
}

export interface Bounce {
  /** "rfc3464" for a delivery status notification; "text" when it was taken from prose, and may be incomplete */
  method: "rfc3464" | "text";
  /** the host that reports */
  reporting_mta: string | null;
  /** one for each recipient that is reported on */
  recipients: BounceRecipient[];
  /** what is returned of the message */
  original: Original | null;
}

export interface Complaint {
  /** "abuse", "fraud", "virus", "not-spam", "auth-failure", "opt-out", ... (RFC 5965) */
  feedback_type: string | null;
  /** the reporter's program */
  user_agent: string | null;
  /** reverse-path of the message complained about */
  mail_from: string | null;
  /** its recipients */
  recipients: string[];
  /** its client */
  source_ip: string | null;
  /** when the reporter got it, RFC 3339 */
  arrival_date: string | null;
  /** domains in it that are complained about */
  reported_domains: string[];
  /** URIs in it that are complained about */
  reported_uris: string[];
  /** what failed, for the type "auth-failure" (RFC 6591) */
  auth_failure: string | null;
  /** what is returned of the message */
  original: Original | null;
}

export interface DMARCRecord {
  /** the client */
  source_ip: string | null;
  /** messages */
  count: number;
  /** what was done: "none", "quarantine", "reject" */
  disposition: string | null;
  /** aligned result: "pass" or "fail" */
  dkim: string | null;
  /** aligned result: "pass" or "fail" */
  spf: string | null;
  /** domain of From */
  header_from: string | null;
  /** domain of the reverse-path */
  envelope_from: string | null;
  /** domain of the recipient */
  envelope_to: string | null;
  /** domains of the signatures */
  dkim_domains: string[];
  /** domains that SPF was checked for */
  spf_domains: string[];
  /** why the policy was not followed */
  reasons: string[];
}

export interface DMARCReport {
  /** who reports */
  organization: string | null;
  /** the reporter's address */
  email: string | null;
  /** the reporter's id of the report */
  report_id: string | null;
  /** of the period, RFC 3339, UTC */
  begin: string | null;
  /** of the period, RFC 3339, UTC */
  end: string | null;
  /** the domain that is reported on */
  domain: string | null;
  /** p= that was published */
  policy: string | null;
  /** sp= that was published */
  subdomain_policy: string | null;
  /** the first 1000 rows */
  records: DMARCRecord[];
  /** how many more rows there are */
  records_omitted: number;
}

export interface TLSFailure {
  /** "certificate-expired", ... (RFC 8460 4.3) */
  result: string | null;
  /** address of the sender */
  sending_ip: string | null;
  /** name of our mail exchanger */
  receiving_mx: string | null;
  /** its address */
  receiving_ip: string | null;
  /** code or words of the sender */
  reason: string | null;
  /** how many failed */
  sessions: number;
}

export interface TLSPolicy {
  /** "sts", "tlsa" or "no-policy-found" */
  type: string | null;
  /** the domain that is reported on */
  domain: string | null;
  /** mail exchangers that the policy names */
  mx_hosts: string[];
  /** sessions that were encrypted as the policy asks */
  successes: number;
  /** sessions that were not */
  failed: number;
  /** each kind of failure */
  failures: TLSFailure[];
}

export interface TLSReport {
  /** who reports */
  organization: string | null;
  /** the reporter's address */
  contact: string | null;
  /** the reporter's id of the report */
  report_id: string | null;
  /** of the period, RFC 3339, UTC */
  begin: string | null;
  /** of the period, RFC 3339, UTC */
  end: string | null;
  /** the outcome under each policy */
  policies: TLSPolicy[];
}

export interface Raw {
  /** octets */
  size: number;
  /** of the octets, 64 hexadecimal digits */
  sha256: string;
  /** base64; null unless the sink has "raw: true" or the mail could not be parsed */
  content: string | null;
  /** where the octets can be fetched, when they are larger than the inline_limit */
  url: string | null;
  /** why neither content nor url is there although the sink asks for the raw mail */
  omitted: string | null;
}

export interface Problem {
  /** a stable word, like "charset-replaced" */
  code: string;
  /** the place: id of a part, name of a header field, or "" */
  where: string;
  /** words for people */
  detail: string;
}

export interface Data {
  /** 1 */
  version: 1;
  /** message id (ULID), as in the 250 reply to the sender, the log and the console */
  id: string;
  /** this delivery */
  delivery: Delivery;
  /** "mail", or what the message is for: "auto_reply", "bounce", "complaint", "dmarc_report", "tls_report" */
  kind: "mail" | "auto_reply" | "bounce" | "complaint" | "dmarc_report" | "tls_report";
  /** what the SMTP transaction said; trust it for routing, whatever the header says */
  envelope: Envelope;
  /** who sent it, as far as that is proven */
  auth: Auth;
  /** the content; null when it could not be parsed, and then raw.content or raw.url is there */
  message: Message | null;
  /** set for kind "auto_reply" */
  auto_reply: AutoReply | null;
  /** set for kind "bounce"; null there too when the report cannot be read, as with the next ones */
  bounce: Bounce | null;
  /** set for kind "complaint" */
  complaint: Complaint | null;
  /** set for kind "dmarc_report" */
  dmarc_report: DMARCReport | null;
  /** set for kind "tls_report" */
  tls_report: TLSReport | null;
  /** the mail exactly as received */
  raw: Raw;
  /** what was repaired, replaced or left out */
  problems: Problem[];
}

export interface Payload {
  /** always "mail.received" */
  type: "mail.received";
  /** when the mail was received: RFC 3339, UTC, milliseconds */
  timestamp: string;
  /** everything else */
  data: Data;
}
