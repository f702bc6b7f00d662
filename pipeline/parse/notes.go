package parse

import (
	"fmt"

	"mxhook/pipeline"
)

// The problems that this stage notes. They are part of the payload: a code keeps its meaning for good.
const (
	noteMboxLine         = "mbox-line"          // an mbox "From " line stood before the header
	noteNoHeader         = "no-header"          // the message has no header at all
	noteHeaderRepaired   = "header-repaired"    // a line that is no header field was left out
	noteNoBlankLine      = "header-unended"     // the empty line between header and body is missing
	noteHeaderLimit      = "header-too-large"   // over Limits.HeaderBytes or Limits.Fields
	noteFieldLimit       = "field-too-large"    // over Limits.FieldBytes or Limits.Params
	noteDepthLimit       = "too-deep"           // over Limits.Depth
	notePartsLimit       = "too-many-parts"     // over Limits.Parts
	noteDecodedLimit     = "decoded-too-large"  // over Limits.DecodedBytes: the attachment is left out
	noteTextLimit        = "text-truncated"     // over Limits.TextBytes
	noteHTMLLimit        = "html-truncated"     // over Limits.HTMLBytes
	noteProblemsLimit    = "too-many-problems"  // over Limits.Problems
	noteBoundaryMissing  = "boundary-missing"   // a multipart whose boundary is not named or never found
	noteBoundaryGuessed  = "boundary-guessed"   // as before, but the body showed which one it is
	noteBoundaryUnclosed = "boundary-unclosed"  // a multipart without its last delimiter
	noteEncodingUnknown  = "encoding-unknown"   // an unknown Content-Transfer-Encoding, read as it stands
	noteEncodingDamaged  = "encoding-damaged"   // octets that base64 or quoted-printable cannot have
	noteCharsetUnknown   = "charset-unknown"    // an unknown charset, read as another
	noteCharsetReplaced  = "charset-replaced"   // text that its charset cannot have, read as another or with U+FFFD
	noteTextFromHTML     = "text-from-html"     // the message has no text: it was made from the HTML
	noteDateUnreadable   = "date-unreadable"    // a Date that is none
	noteCalendarBroken   = "calendar-damaged"   // a calendar part that cannot be read, or not all of it
	noteContainerDamaged = "container-damaged"  // a winmail.dat that cannot be unpacked, or not all of it
	noteReportUnreadable = "report-unreadable"  // a bounce, complaint or report whose own data cannot be read
	noteFragment         = "message-fragment"   // a message/partial: one piece of a mail that was sent in several
	noteAddressBroken    = "address-unreadable" // an entry of an address list that has no address
)

// notes collects problems: each code once for each place, up to max of them.
type notes struct {
	list []pipeline.Problem
	max  int
}

// add notes a problem. The detail is made valid UTF-8 and at most some 200 octets long.
func (n *notes) add(code, where, format string, args ...any) {
	if len(n.list) > n.max {
		return
	}
	for _, p := range n.list {
		if p.Code == code && p.Where == where {
			return
		}
	}
	if len(n.list) == n.max {
		n.list = append(n.list, pipeline.Problem{Code: noteProblemsLimit, Detail: fmt.Sprintf("more than %d problems", n.max)})
		return
	}
	n.list = append(n.list, pipeline.Problem{Code: code, Where: where, Detail: cut(validUTF8(fmt.Sprintf(format, args...)), 200)})
}
