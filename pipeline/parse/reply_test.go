package parse

import (
	"fmt"
	"strings"
	"testing"

	"mxhook/pipeline"
)

// TestQuotesAreFoundInManyLanguages has one mail program's way to quote for each language.
func TestQuotesAreFoundInManyLanguages(t *testing.T) {
	t.Parallel()
	for language, quote := range map[string]string{
		"English, Gmail":        "On Sat, Nov 21, 2026 at 10:00 AM Bob Example\n<bob@example.org> wrote:\n\n> old\n> text",
		"English, Outlook":      "From: Bob <bob@example.org>\nSent: Saturday, November 21, 2026 10:00 AM\nTo: Ann\nSubject: RE: x\n\nold",
		"English, Outlook web":  "________________________________\nFrom: Bob\nSent: Saturday\nTo: Ann\nSubject: x\n\nold",
		"English, old Outlook":  "-----Original Message-----\nFrom: Bob\n\nold",
		"English, Apple":        "> On 21 Nov 2026, at 10:00, Bob <bob@example.org> wrote:\n> \n> old",
		"English, forward":      "---------- Forwarded message ---------\nFrom: Bob\n\nold",
		"English, not marked":   "On Nov 21, 2026, at 10:00 AM, \"Bob\" <bob@example.org> wrote:\nold",
		"German, Thunderbird":   "Am 21.11.26 um 10:00 schrieb Bob:\n> alt",
		"German, Outlook":       "Von: Bob\nGesendet: Samstag, 21. November 2026 10:00\nAn: Ann\nBetreff: AW: x\n\nalt",
		"German, separator":     "-----Ursprüngliche Nachricht-----\nVon: Bob\n\nalt",
		"French, Gmail":         "Le sam. 21 nov. 2026 à 10:00, Bob <bob@example.org> a écrit :\n\n> vieux",
		"French, Outlook":       "De : Bob\nEnvoyé : samedi 21 novembre 2026\nÀ : Ann\nObjet : x\n\nvieux",
		"Spanish, Gmail":        "El sáb, 21 nov 2026 a las 10:00, Bob (<bob@example.org>) escribió:\n\n> viejo",
		"Spanish, Outlook":      "De: Bob\nEnviado: sábado, 21 de noviembre\nPara: Ann\nAsunto: x\n\nviejo",
		"Italian":               "Il giorno sab 21 nov 2026 alle ore 10:00 Bob <bob@example.org> ha\nscritto:\n\n> vecchio",
		"Portuguese":            "Em sáb., 21 de nov. de 2026 às 10:00, Bob <bob@example.org> escreveu:\n\n> velho",
		"Dutch":                 "Op za 21 nov 2026 om 10:00 schreef Bob <bob@example.org>:\n\n> oud",
		"Swedish":               "Den lör 21 nov. 2026 kl 10:00 skrev Bob <bob@example.org>:\n\n> gammal",
		"Danish":                "Den lør. 21. nov. 2026 kl. 10.00 skrev Bob <bob@example.org>:\n\n> gammel",
		"Polish":                "W dniu 21.11.2026 o 10:00, Bob pisze i napisał(a):\n> stary",
		"Russian":               "сб, 21 нояб. 2026 г. в 10:00, Bob <bob@example.org>:\n\n> старый",
		"Russian, with a verb":  "21.11.2026 10:00, Bob пишет:\n> старый",
		"Czech":                 "Dne 21. 11. 2026 v 10:00 Bob napsal(a):\n> starý",
		"Finnish":               "la 21. marrask. 2026 klo 10.00 Bob (bob@example.org) kirjoitti:\n> vanha",
		"Turkish":               "Bob <bob@example.org>, 21 Kas 2026 Cmt, 10:00 tarihinde şunu yazdı:\n> eski",
		"Hungarian":             "Bob <bob@example.org> ezt írta (2026. nov. 21., Szo 10:00):\n> régi",
		"Japanese":              "2026年11月21日(土) 10:00 Bob <bob@example.org>:\n\n> 古い",
		"Japanese, Outlook":     "差出人: Bob\n送信日時: 2026年11月21日\n宛先: Ann\n件名: x\n\n古い",
		"Chinese, simplified":   "Bob <bob@example.org> 于2026年11月21日周六 10:00写道：\n\n> 旧",
		"Chinese, Outlook":      "发件人: Bob\n发送时间: 2026年11月21日\n收件人: Ann\n主题: x\n\n旧",
		"Korean":                "2026년 11월 21일 (토) 오전 10:00, Bob <bob@example.org>님이 작성:\n\n> 옛",
		"bold header":           "*From:* Bob\n*Sent:* Saturday\n*To:* Ann\n*Subject:* x\n\nold",
		"no verb, with address": "Thu, 26 Jun 2026 14:00:51 +0400 от Alex <alex@example.com>:\n> старый",
	} {
		r := reply("That is fine: see you at 10:30.\n\n" + quote + "\n")
		if r.Text != "That is fine: see you at 10:30." || r.Quoted != quote || r.Method == methodNone {
			t.Errorf("%s: text %q, quoted %q, method %s", language, r.Text, r.Quoted, r.Method)
		}
	}
}

func TestRepliesAreTakenApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, text, quoted, signature, method string }{
		"nothing quoted":       {"a\n\nb\n", "a\n\nb", "", "", methodNone},
		"below the quote":      {"On 1 Jan 2026 Bob wrote:\n> q\n\nnew\n", "new", "On 1 Jan 2026 Bob wrote:\n> q", "", methodAttribution},
		"between the quotes":   {"> q1\na1\n\n> q2\na2\n", "a1\n\na2", "> q1\n> q2", "", methodMarks},
		"signature":            {"new\n-- \nAnn\nTel. 1\n", "new", "", "-- \nAnn\nTel. 1", methodNone},
		"telephone":            {"new\n\nVon meinem iPhone gesendet\n", "new", "", "Von meinem iPhone gesendet", methodNone},
		"telephone in Chinese": {"new\n\n发自我的 iPhone\n\n> q\n", "new", "> q", "发自我的 iPhone", methodMarks},
		"no telephone":         {"new\n\nSent from my desk, where it is much easier to type.\n", "new\n\nSent from my desk, where it is much easier to type.", "", "", methodNone},
		"signed name":          {"new\n\n-Jane Doe\n", "new", "", "-Jane Doe", methodNone},
		"list footer":          {"new\n____________________________\na list\n", "new", "", "____________________________\na list", methodNone},
		"a colon":              {"On your host you can run:\n\nls\n", "On your host you can run:\n\nls", "", "", methodNone},
		"sentence before it":   {"I agree\nOn 1 Jan 2026, Bob wrote:\n> q\n", "I agree", "On 1 Jan 2026, Bob wrote:\n> q", "", methodAttribution},
		"one header word":      {"From: here on it is easy.\nTo do: nothing.\n", "From: here on it is easy.\nTo do: nothing.", "", "", methodNone},
		"a list":               {"- one\n- two\n---\n", "- one\n- two\n---", "", "", methodNone},
		"all quoted":           {"> q\n", "", "> q", "", methodMarks},
	} {
		r := reply(c.in)
		if r.Text != c.text || r.Quoted != c.quoted || r.Signature != c.signature || r.Method != c.method {
			t.Errorf("%s: %+v", name, *r)
		}
	}
	if reply("") != nil || reply(strings.Repeat("a", replyBytes+1)) != nil {
		t.Error("a text that is none or too long was taken apart")
	}
}

// BenchmarkReplyOfHostileText takes texts that each rule looks at again and again, at the limit and at half of it: twice the
// text may take twice the time.
func BenchmarkReplyOfHostileText(b *testing.B) {
	for _, line := range []string{"From: a\n", "On 1 Jan 2026\n", "-----\n", "> > >\n", "On 1 " + strings.Repeat("a ", 500) + "\n", "\n"} {
		for _, size := range []int{replyBytes / 4, replyBytes / 2} {
			in := strings.Repeat(line, size/len(line))
			b.Run(fmt.Sprintf("%.12q/%d", line, len(in)), func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				for b.Loop() {
					reply(in)
				}
			})
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("new\n\nOn Sat, Nov 21, 2026 at 10:00 AM Bob\n<bob@example.org> wrote:\n> old\n-- \nAnn\n")
	f.Add("Von: a\nGesendet: b\nAn: c\nBetreff: d\n-----Original Message-----\nSent from my iPhone")
	addCorpus(f, "reply", "", func(b []byte) { f.Add(string(b)) })
	f.Fuzz(func(t *testing.T, s string) {
		s = validUTF8(s)
		r := fuzzReader(t, len(s), func() *pipeline.Reply { return reply(s) })
		if r == nil {
			return
		}
		// Nothing but white space may come or go.
		got := len(strings.Join(strings.Fields(r.Text+" "+r.Quoted+" "+r.Signature), ""))
		if want := len(strings.Join(strings.Fields(s), "")); got != want {
			t.Errorf("%d octets of text became %d", want, got)
		}
	})
}
