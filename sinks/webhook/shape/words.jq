# The words that every program has besides jq's own. They go through the same bounds as the program.

def recurse: def r: ., (.[]? | r); r;
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def to_entries: . as $in | [keys[] as $k | {key: $k, value: $in[$k]}];
def from_entries: reduce .[] as $e ({}; . + {($e.key): $e.value});
def with_entries(f): to_entries | map(f) | from_entries;
def add(f): [f] | add;
def any(g; f): isempty(first(g | select(f))) | not;
def any(f): any(.[]; f);
def any: any(.[]; .);
def all(g; f): isempty(first(g | select(f | not)));
def all(f): all(.[]; f);
def all: all(.[]; .);
def IN(s): . as $x | any(s; . == $x);
def first: .[0];
def last: .[-1];
def nth($n): .[$n];
def sort_by(f): _sort_by(map([f]));
def group_by(f): _group_by(map([f]));
def unique_by(f): _unique_by(map([f]));
def min_by(f): _min_by(map([f]));
def max_by(f): _max_by(map([f]));
def walk(f): def w: (if type == "array" then map(w) elif type == "object" then map_values(w) else . end) | f; w;
def tonumber: _number;
def split($by): _split($by);
def join($with): _join($with);
def index($x): _index_of($x; false);
def rindex($x): _index_of($x; true);
def contains($x): _has_text($x);

def test($re; $flags): _is_match($re; $flags);
def test($re): _is_match($re; null);
def match($re; $flags): _matches($re; $flags)[:-1][] | {string, captures, list};
def match($re): match($re; null);
def capture($re; $flags): match($re; $flags) | .captures;
def capture($re): capture($re; null);
def scan($re; $flags): match($re; $flags + "g") | if .list == [] then .string else .list end;
def scan($re): scan($re; "");
def splits($re; $flags): _matches($re; $flags + "g")[].before;
def splits($re): splits($re; "");
def split($re; $flags): [splits($re; $flags)];
def sub($re; f; $flags): [_matches($re; $flags)[] | .before, if .captures then (.captures | f) else empty end] | _join("");
def sub($re; f): sub($re; f; "");
def gsub($re; f; $flags): sub($re; f; $flags + "g");
def gsub($re; f): sub($re; f; "g");

# A text with one part replaced by another, wherever it is; no regular expression.
def replace($old; $new): _replace($old; $new);
# A text of at most so many characters.
def cut($n): _cut($n);
# "Alice <alice@example.org>" of an entry of from, to and the like.
def address: if .name then "\(.name) <\(.address)>" else .address end;
# Who wrote the mail, and whether that is proven.
def author:
  ([.data.message.from[]? | address] | if . == [] then "(nobody)" else join(", ") end)
  + (if .data.auth.sender.verified then "" else " (not verified)" end);
def subject: .data.message.subject | if . == null or trim == "" then "(no subject)" else . end;
# The new text of a mail, as short as it can be had: without the quote where the sink has reply: true.
def body: [.data.message.reply.text, .data.message.text, "(no text)"] | map(select(. != null and trim != "")) | first;
def recipients: [.data.envelope.recipients[].address] | join(", ");
def files: [.data.message.attachments[]? | .filename] | if . == [] then "" else "Attachments: " + join(", ") end;

# Slack, incoming webhooks: a header of 150 characters, sections of 3000, all as plain text so that a mail can neither
# mention anybody nor hide where a link leads; text is for notifications and is escaped.
def slack:
  def escape: replace("&"; "&amp;") | replace("<"; "&lt;") | replace(">"; "&gt;");
  def plain($n): {type: "plain_text", text: cut($n), emoji: false};
  {
    text: ("\(author | cut(200)): \(subject | cut(300))" | escape),
    blocks: [
      {type: "header", text: (subject | plain(150))},
      {type: "context", elements: [("From \(author | cut(500)) to \(recipients | cut(500))" | plain(2000))]},
      {type: "section", text: (body | plain(3000))},
      (files | select(. != "") | {type: "context", elements: [plain(2000)]})
    ]
  };

# Discord, webhooks: one embed with a title of 256 characters, a description of 4096, 6000 in all; nobody is mentioned.
def discord:
  {
    content: ("Mail from \(author | cut(200))" | cut(2000)),
    allowed_mentions: {parse: []},
    embeds: [
      {title: (subject | cut(256)), description: (body | cut(4000)), timestamp: .timestamp}
      + {footer: {text: (["to \(recipients | cut(500))", (files | select(. != ""))] | join("\n") | cut(1000))}}
    ]
  };

# Microsoft Teams, workflows: an adaptive card, 28 KB in all. Text runs are shown as they are: no links, no mentions.
def teams:
  def run($n): {type: "TextRun", text: cut($n)};
  def block(r): {type: "RichTextBlock", inlines: [r]};
  {
    type: "message",
    attachments: [{
      contentType: "application/vnd.microsoft.card.adaptive",
      contentUrl: null,
      content: {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        type: "AdaptiveCard",
        version: "1.4",
        body: [
          block(subject | run(256) + {size: "large", weight: "bolder"}),
          block("From \(author | cut(200)) to \(recipients | cut(200))" | run(420) + {isSubtle: true}),
          (body | cut(2000) | split("\n")[:100][] | select(. != "") | block(run(2000))),
          (files | select(. != "") | block(run(500) + {isSubtle: true}))
        ]
      }
    }]
  };
