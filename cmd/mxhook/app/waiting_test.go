package app

import (
	"testing"

	"mxhook/pipeline"
)

// What comes over the queue must not break the dialogue, whoever wrote it.
func TestAVerdictThatIsNoReplyDefers(t *testing.T) {
	t.Parallel()
	for _, r := range []pipeline.SenderReply{
		{Code: 250, Status: "2.0.0"},
		{Code: 421, Status: "4.0.0"},
		{Code: 600, Status: "6.0.0"},
		{Code: 550, Status: ""},
		{Code: 550, Status: "4.7.1"},
		{Code: 550, Status: "5.7.1\r\n250 fine"},
	} {
		if got := senderReply(&r); got != replyUnanswered {
			t.Errorf("%+v: %v", r, got)
		}
	}
	if got := senderReply(&pipeline.SenderReply{Code: 554, Status: "5.6.0", Text: "no\r\n250 yes"}); got.Error() != "554 5.6.0 no??250 yes" {
		t.Errorf("%q", got.Error())
	}
}
