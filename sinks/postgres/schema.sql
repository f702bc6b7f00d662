-- The tables of version 1. {schema} is the configured schema. Each row of messages is a delivery: a message with the recipients
-- that the rules sent to the sink. A delivery is in all tables or in none.

CREATE TABLE {schema}.messages (
  delivery_id     text PRIMARY KEY,      -- the same at every attempt
  message_id      text NOT NULL,         -- as in the reply to the sender, the log and the console
  sink            text NOT NULL,
  rules           text[] NOT NULL,
  tags            text[] NOT NULL,
  replay_of       text,                  -- delivery that a person replayed
  received_at     timestamptz NOT NULL,
  stored_at       timestamptz NOT NULL DEFAULT now(),
  kind            text NOT NULL,         -- mail, auto_reply, bounce, complaint, dmarc_report, tls_report
  mail_from       text NOT NULL,         -- reverse-path; '' is the null reverse-path
  client_ip       inet,
  sender_verified boolean NOT NULL,      -- the verdict that is safe to act on
  sender_domain   text,
  header_message_id text,                -- the Message-ID field
  date            timestamptz,
  from_address    text,                  -- of the first author
  subject         text,
  text            text,
  html            text,
  size            bigint NOT NULL,
  sha256          bytea NOT NULL,        -- of the mail as received
  raw             bytea,                 -- the mail as received; null with omit_raw
  payload         jsonb NOT NULL,        -- as webhooks get it, without octets
  search          tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(coalesce(subject, ''), 10000) || ' ' || left(coalesce(text, ''), 100000))) STORED
);
CREATE INDEX messages_message_id ON {schema}.messages (message_id);
CREATE INDEX messages_received_at ON {schema}.messages (received_at);
CREATE INDEX messages_from_address ON {schema}.messages USING hash (from_address); -- an address may be longer than a B-tree takes
CREATE INDEX messages_search ON {schema}.messages USING gin (search);

CREATE TABLE {schema}.recipients (
  delivery_id text NOT NULL REFERENCES {schema}.messages ON DELETE CASCADE,
  position    integer NOT NULL,
  address     text NOT NULL,
  local       text NOT NULL,
  tag         text NOT NULL,
  domain      text NOT NULL,
  captures    jsonb NOT NULL,
  PRIMARY KEY (delivery_id, position)
);
CREATE INDEX recipients_address ON {schema}.recipients (lower(address));

CREATE TABLE {schema}.headers (
  delivery_id text NOT NULL REFERENCES {schema}.messages ON DELETE CASCADE,
  position    integer NOT NULL,          -- from the top of the message
  name        text NOT NULL,
  value       text NOT NULL,
  PRIMARY KEY (delivery_id, position)
);

CREATE TABLE {schema}.attachments (
  delivery_id  text NOT NULL REFERENCES {schema}.messages ON DELETE CASCADE,
  position     integer NOT NULL,
  part         text NOT NULL,            -- id of the part, as in the payload
  filename     text NOT NULL,
  content_type text NOT NULL,
  disposition  text NOT NULL,
  content_id   text NOT NULL,
  size         bigint NOT NULL,
  sha256       bytea NOT NULL,
  content      bytea,                    -- decoded; null with omit_attachments
  PRIMARY KEY (delivery_id, position)
);
CREATE INDEX attachments_sha256 ON {schema}.attachments (sha256);
