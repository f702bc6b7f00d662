package parse

import (
	"strings"
	"testing"
)

// TestAttributionsOfManyPrograms has the line that programs write above a quote which they do not mark, or above one that is
// shown without its marks.
func TestAttributionsOfManyPrograms(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		// Gmail
		"On Mon, Jan 5, 2026 at 3:04 PM John Doe <j@example.org> wrote:",
		"Am Mo., 5. Jan. 2026 um 15:04 Uhr schrieb John Doe <j@example.org>:",
		"Le lun. 5 janv. 2026 à 15:04, John Doe <j@example.org> a écrit :",
		"El lun, 5 ene 2026 a las 15:04, John Doe (<j@example.org>) escribió:",
		"Il giorno lun 5 gen 2026 alle ore 15:04 John Doe <j@example.org> ha scritto:",
		"Em seg., 5 de jan. de 2026 às 15:04, John Doe <j@example.org> escreveu:",
		"Op ma 5 jan 2026 om 15:04 schreef John Doe <j@example.org>:",
		"Den mån 5 jan. 2026 kl 15:04 skrev John Doe <j@example.org>:",
		"Den man. 5. jan. 2026 kl. 15.04 skrev John Doe <j@example.org>:",
		"man. 5. jan. 2026 kl. 15:04 skrev John Doe <j@example.org>:",
		"ma 5. tammik. 2026 klo 15.04 John Doe (j@example.org) kirjoitti:",
		"pon., 5 sty 2026 o 15:04 John Doe <j@example.org> napisał(a):",
		"po 5. 1. 2026 v 15:04 odesílatel John Doe <j@example.org> napsal:",
		"po 5. 1. 2026 o 15:04 John Doe <j@example.org> napísal(a):",
		"John Doe <j@example.org> ezt írta (időpont: 2026. jan. 5., H, 15:04):",
		"lun., 5 ian. 2026 la 15:04, John Doe <j@example.org> a scris:",
		"пн, 5 янв. 2026 г. в 15:04, John Doe <j@example.org>:",
		"пн, 5 січ. 2026 р. о 15:04 John Doe <j@example.org> пише:",
		"John Doe <j@example.org>, 5 Oca 2026 Pzt, 15:04 tarihinde şunu yazdı:",
		"Στις Δευ 5 Ιαν 2026 στις 3:04 μ.μ., ο χρήστης John Doe <j@example.org> έγραψε:",
		"2026年1月5日(月) 15:04 John Doe <j@example.org>:",
		"John Doe <j@example.org> 于2026年1月5日周一 15:04写道：",
		"John Doe <j@example.org> 於 2026年1月5日 週一 下午3:04寫道：",
		"2026년 1월 5일 (월) 오후 3:04, John Doe <j@example.org>님이 작성:",
		"Vào Th 2, 5 thg 1, 2026 vào lúc 15:04 John Doe <j@example.org> đã viết:",
		"\u202bבתאריך יום ב׳, 5 בינו׳ 2026 ב-15:04 מאת \u202aJohn Doe\u202c\u200f <\u202aj@example.org\u202c\u200f>:\u202c",
		"في الاثنين، 5 يناير 2026 في 3:04 م تمت كتابة ما يلي بواسطة John Doe <j@example.org>:",
		"ในวันที่ จ. 5 ม.ค. 2026 เวลา 15:04 John Doe <j@example.org> เขียนว่า:",
		"Pada tanggal Sen, 5 Jan 2026 pukul 15.04 John Doe <j@example.org> menulis:",
		"Missatge de John Doe <j@example.org> del dia dl., 5 de gen. 2026 a les 15:04:",
		"pon, 5. sij 2026. u 15:04 John Doe <j@example.org> napisao je:",
		"V V pon., 5. jan. 2026 ob 15:04 je oseba John Doe <j@example.org> napisala:",
		"На пн, 5.01.2026 г. в 15:04 John Doe <j@example.org> написа:",
		"пон, 5. јан 2026. у 15:04 John Doe <j@example.org> је написао/ла:",
		"2026-01-05, pr, 15:04 John Doe <j@example.org> rašė:",
		"pirmd., 2026. g. 5. janv., plkst. 15:04 — lietotājs John Doe (<j@example.org>) rakstīja:",
		"Kuupäev E, 5. jaanuar 2026 kell 15:04 kirjutas John Doe <j@example.org>:",
		"در تاریخ دوشنبه ۵ ژانویهٔ ۲۰۲۶،\u200f ۱۵:۰۴ John Doe <j@example.org> نوشت:",
		// Apple Mail
		"> On 5 Jan 2026, at 15:04, John Doe <j@example.org> wrote:",
		"Am 05.01.2026 um 15:04 schrieb John Doe <j@example.org>:",
		"2026/01/05 15:04、John Doe <j@example.org>のメール:",
		"在 2026年1月5日，15:04，John Doe <j@example.org> 写道：",
		"Op 5 jan 2026, om 15:04 heeft John Doe <j@example.org> het volgende geschreven:",
		"Wiadomość napisana przez John Doe <j@example.org> w dniu 5 sty 2026, o godz. 15:04:",
		"5 янв. 2026 г., в 15:04, John Doe <j@example.org> написал(а):",
		"5 jan. 2026 kl. 15:04 skrev John Doe <j@example.org>:",
		"No dia 5 de jan. de 2026, às 15:04, John Doe <j@example.org> escreveu:",
		"John Doe <j@example.org> kirjoitti 5.1.2026 kello 15.04:",
		"John Doe <j@example.org> şunları yazdı (5 Oca 2026 15:04):",
		"2026. 1. 5. 오후 3:04, John Doe <j@example.org> 작성:",
		// Thunderbird, without an address
		"On 1/5/26 15:04, John Doe wrote:",
		"Il 05/01/26 15:04, John Doe ha scritto:",
		"Dne 05. 01. 26 v 15:04 John Doe napsal(a):",
		"W dniu 5.01.2026 o 15:04, John Doe pisze:",
		"05.01.2026 15:04, John Doe пишет:",
		"2026. 01. 05. 15:04 keltezéssel, John Doe írta:",
		"Às 15:04 de 05/01/26, John Doe escreveu:",
		"John Doe kirjoitti 5.1.2026 klo 15.04:",
		// Yahoo, Proton, Zoho, Mail.ru, Yandex, NetEase
		"On Monday, January 5, 2026 at 03:04:05 PM GMT+1, John Doe <j@example.org> wrote:",
		"On Monday, January 5th, 2026 at 15:04, John Doe <j@example.org> wrote:",
		"---- On Mon, 05 Jan 2026 15:04:05 +0100 John Doe <j@example.org> wrote ----",
		"---- Le Mon, 05 Jan 2026 15:04:05 +0100 John Doe <j@example.org> a écrit ----",
		"Понедельник, 5 января 2026, 15:04 +03:00 от John Doe <j@example.org>:",
		"05.01.2026, 15:04, \"John Doe\" <j@example.org>:",
		"在 2026-01-05 15:04:05，\"John Doe\" <j@example.org> 写道：",
		"At 2026-01-05 15:04:05, \"John Doe\" <j@example.org> wrote:",
		// separators
		"‐‐‐‐‐‐‐ Original Message ‐‐‐‐‐‐‐",
		"------------------ 原始邮件 ------------------",
		"-------- Původní e-mail --------",
		"-------- Ursprüngliche Nachricht --------",
		"-------- Messaggio Originale --------",
		"-------- Mensaje original --------",
		"-------- Message d’origine --------",
		"---------- Původní zpráva ----------",
		"----- Mensagem original -----",
		"-------- Исходное сообщение --------",
	} {
		r := reply("new\n\n" + line + "\nold words\nof somebody\n")
		if r == nil || r.Text != "new" || !strings.HasPrefix(r.Quoted, line) && line[0] != '>' {
			if line[0] != '>' {
				t.Errorf("%s: text %q, method %s", line, r.Text, r.Method)
			}
		}
	}
}

func TestCopiedHeadersOfManyPrograms(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]string{
		"GMX":                   "Gesendet: Montag, 05. Januar 2026 um 15:04 Uhr\nVon: \"John Doe\" <j@example.org>\nAn: a@example.org\nBetreff: Drucker",
		"Notes":                 "From:\tJohn Doe/ACME\nTo:\tAnn Smith/ACME@ACME\nDate:\t05/01/2026 15:04\nSubject:\tPrinter",
		"Foxmail":               "发件人： John Doe\n发送时间： 2026-01-05 15:04\n收件人： Ann\n主题： 打印机",
		"QQ":                    "发件人: \"John Doe\"<j@example.org>;\n发送时间: 2026年1月5日(星期一) 下午3:04\n收件人: \"Ann\"<a@example.org>;\n主题: 打印机",
		"Outlook, bold":         "*From:* John Doe <j@example.org>\n*Sent:* Monday, January 5, 2026 3:04 PM\n*To:* Ann\n*Subject:* Printer",
		"Outlook, French":       "De : John Doe <j@example.org>\nEnvoyé : lundi 5 janvier 2026 15:04\nÀ : Ann\nObjet : Imprimante",
		"Outlook, Polish":       "Od: John Doe\nWysłane: poniedziałek, 5 stycznia 2026 15:04\nDo: Ann\nTemat: Drukarka",
		"Outlook, Russian":      "От: John Doe\nОтправлено: понедельник, 5 января 2026 г. 15:04\nКому: Ann\nТема: Принтер",
		"Outlook, Portuguese":   "De: John Doe\nEnviada em: segunda-feira, 5 de janeiro de 2026 15:04\nPara: Ann\nAssunto: Impressora",
		"Outlook, Japanese":     "差出人: John Doe\n送信日時: 2026年1月5日 15:04\n宛先: Ann\n件名: プリンター",
		"Outlook, Korean":       "보낸 사람: John Doe\n보낸 날짜: 2026년 1월 5일\n받는 사람: Ann\n제목: 프린터",
		"Outlook, Turkish":      "Kimden: John Doe\nGönderildi: 5 Ocak 2026 Pazartesi 15:04\nKime: Ann\nKonu: Yazıcı",
		"Outlook, Danish":       "Fra: John Doe\nSendt: 5. januar 2026 15:04\nTil: Ann\nEmne: Printer",
		"Outlook, Hungarian":    "Feladó: John Doe\nElküldve: 2026. január 5.\nCímzett: Ann\nTárgy: Nyomtató",
		"Outlook, Czech":        "Od: John Doe\nOdesláno: pondělí 5. ledna 2026 15:04\nKomu: Ann\nPředmět: Tiskárna",
		"Outlook, Ukrainian":    "Від: John Doe\nНадіслано: 5 січня 2026 р. 15:04\nКому: Ann\nТема: Принтер",
		"Outlook, Arabic":       "من: John Doe\nتم الإرسال: 5 يناير 2026\nإلى: Ann\nالموضوع: طابعة",
		"Outlook, Greek":        "Από: John Doe\nΣτάλθηκε: Δευτέρα, 5 Ιανουαρίου 2026\nΠρος: Ann\nΘέμα: Εκτυπωτής",
		"Date first, Apple web": "Date: Mon, 5 Jan 2026 15:04:05 +0100\nFrom: j@example.org\nTo: a@example.org\nSubject: Printer",
	} {
		r := reply("new\n\n" + block + "\n\nold words\n")
		if r == nil || r.Text != "new" || r.Method != methodHeader {
			t.Errorf("%s: text %q, method %s", name, r.Text, r.Method)
		}
	}
}

func TestSentencesAreNoQuotes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"On 5 May we wrote the following plan:\n- one\n- two",
		"Please send it to j@example.org at 15:04:\nthe report",
		"From: the start it was broken.\nTo me that is odd.",
		"He wrote:\nhello",
		"Date: tomorrow\nPlace: here",
		"1. He said at 10:00:\nno",
	} {
		if r := reply(s + "\n"); r.Quoted != "" {
			t.Errorf("%q: quoted %q by %s", s, r.Quoted, r.Method)
		}
	}
}
