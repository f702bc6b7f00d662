// The body of an mxhook webhook, version 1. Made from payload.schema.json: do not edit.
// Fields may be added within version 1.

export interface Delivery {
  id: string;
  sink: string;
  rules: string[];
  tags: string[];
  attempt: number;
  replay_of: string | null;
}

export interface Recipient {
  address: string;
  local: string;
  tag: string | null;
  domain: string;
  captures: Record<string, string>;
}

export interface TLS {
  version: string;
  cipher: string;
}

export interface Client {
  ip: string | null;
  port: number;
  name: string | null;
  tls: TLS | null;
}

export interface Envelope {
  mail_from: string;
  recipients: Recipient[];
  helo: string;
  smtputf8: boolean;
  size: number;
  received_at: string;
  listener: string;
  client: Client;
}

export interface Sender {
  verified: boolean;
  domain: string | null;
  by: "dmarc" | "arc" | null;
}

export interface SPF {
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  domain: string | null;
  identity: "mailfrom" | "helo" | null;
  reason: string;
}

export interface DKIM {
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  domain: string | null;
  selector: string | null;
  algorithm: string | null;
  aligned: boolean;
  reason: string;
}

export interface DMARC {
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  domain: string | null;
  policy: "none" | "quarantine" | "reject" | null;
  spf_aligned: boolean;
  dkim_aligned: boolean;
}

export interface ARC {
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  sealers: string[];
  trusted: boolean;
}

export interface IPRev {
  result: "none" | "pass" | "fail" | "softfail" | "neutral" | "policy" | "temperror" | "permerror";
  name: string | null;
}

export interface Auth {
  sender: Sender;
  spf: SPF;
  dkim: DKIM[];
  dmarc: DMARC;
  arc: ARC;
  iprev: IPRev;
}

export interface Address {
  name: string | null;
  address: string;
}

export interface Header {
  name: string;
  value: string;
}

export interface Reply {
  text: string;
  quoted: string;
  signature: string;
  method: "none" | "marks" | "attribution" | "header" | "separator";
}

export interface Summary {
  message_id: string | null;
  date: string | null;
  subject: string | null;
  from: Address[];
  to: Address[];
  cc: Address[];
}

export interface Attachment {
  id: string;
  filename: string;
  content_type: string;
  disposition: "attachment" | "inline";
  content_id: string | null;
  size: number;
  sha256: string;
  content: string | null;
  url: string | null;
  omitted: string | null;
  original_filename: string | null;
  container: string | null;
  message: Summary | null;
}

export interface Time {
  local: string;
  zone: string | null;
  utc: string | null;
}

export interface Attendee {
  name: string | null;
  address: string;
  role: string | null;
  status: string | null;
}

export interface Event {
  part: string;
  method: string | null;
  component: "event" | "todo" | "journal";
  uid: string | null;
  sequence: number;
  status: string | null;
  summary: string | null;
  description: string | null;
  location: string | null;
  url: string | null;
  start: Time | null;
  end: Time | null;
  recurrence: string | null;
  recurrence_id: Time | null;
  organizer: Attendee | null;
  attendees: Attendee[];
}

export interface List {
  id: string | null;
  name: string | null;
  unsubscribe: string[];
  one_click: boolean;
  post: string | null;
  archive: string | null;
  help: string | null;
}

export interface Message {
  message_id: string | null;
  date: string | null;
  subject: string | null;
  from: Address[];
  sender: Address | null;
  reply_to: Address[];
  to: Address[];
  cc: Address[];
  bcc: Address[];
  in_reply_to: string[];
  references: string[];
  headers: Header[];
  text: string | null;
  html: string | null;
  text_from: "text" | "html" | null;
  reply: Reply | null;
  attachments: Attachment[];
  calendar: Event[];
  list: List | null;
}

export interface AutoReply {
  reason: string;
  original_message_id: string | null;
}

export interface BounceRecipient {
  address: string | null;
  original_address: string | null;
  action: string | null;
  status: string | null;
  diagnostic: string | null;
  remote_mta: string | null;
}

export interface Original {
  message_id: string | null;
  date: string | null;
  subject: string | null;
  from: Address[];
  to: Address[];
  headers: Header[];
}

export interface Bounce {
  method: "rfc3464" | "text";
  reporting_mta: string | null;
  recipients: BounceRecipient[];
  original: Original | null;
}

export interface Complaint {
  feedback_type: string | null;
  user_agent: string | null;
  mail_from: string | null;
  recipients: string[];
  source_ip: string | null;
  arrival_date: string | null;
  reported_domains: string[];
  reported_uris: string[];
  auth_failure: string | null;
  original: Original | null;
}

export interface DMARCRecord {
  source_ip: string | null;
  count: number;
  disposition: string | null;
  dkim: string | null;
  spf: string | null;
  header_from: string | null;
  envelope_from: string | null;
  envelope_to: string | null;
  dkim_domains: string[];
  spf_domains: string[];
  reasons: string[];
}

export interface DMARCReport {
  organization: string | null;
  email: string | null;
  report_id: string | null;
  begin: string | null;
  end: string | null;
  domain: string | null;
  policy: string | null;
  subdomain_policy: string | null;
  records: DMARCRecord[];
  records_omitted: number;
}

export interface TLSFailure {
  result: string | null;
  sending_ip: string | null;
  receiving_mx: string | null;
  receiving_ip: string | null;
  reason: string | null;
  sessions: number;
}

export interface TLSPolicy {
  type: string | null;
  domain: string | null;
  mx_hosts: string[];
  successes: number;
  failed: number;
  failures: TLSFailure[];
}

export interface TLSReport {
  organization: string | null;
  contact: string | null;
  report_id: string | null;
  begin: string | null;
  end: string | null;
  policies: TLSPolicy[];
}

export interface Raw {
  size: number;
  sha256: string;
  content: string | null;
  url: string | null;
}

export interface Problem {
  code: string;
  where: string;
  detail: string;
}

export interface Data {
  version: 1;
  id: string;
  delivery: Delivery;
  kind: "mail" | "auto_reply" | "bounce" | "complaint" | "dmarc_report" | "tls_report";
  envelope: Envelope;
  auth: Auth;
  message: Message | null;
  auto_reply: AutoReply | null;
  bounce: Bounce | null;
  complaint: Complaint | null;
  dmarc_report: DMARCReport | null;
  tls_report: TLSReport | null;
  raw: Raw;
  problems: Problem[];
}

export interface Payload {
  type: "mail.received";
  timestamp: string;
  data: Data;
}
