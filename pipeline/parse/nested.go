package parse

import "mxhook/pipeline"

// summaries bounds how many attached messages of one message are described, innerHeaderBytes how much of the header of
// each is read, and innerBytes how much of all of them.
const (
	summaries        = 50
	innerHeaderBytes = 64 << 10
	innerBytes       = 512 << 10
)

// summary describes an attached message by its header; nil for any other part.
func (rd *reading) summary(p *part) *pipeline.Summary {
	if p.media.typ != "message/rfc822" && p.media.typ != "message/global" || rd.summed == summaries {
		return nil
	}
	rd.summed++
	c := rd.innerHeader(p)
	return &pipeline.Summary{MessageID: c.MessageID, Subject: c.Subject, Date: c.Date, From: c.From, To: c.To, Cc: c.Cc}
}
