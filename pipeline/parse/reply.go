package parse

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"mxhook/pipeline"
)

// replyBytes bounds the text that is taken apart, and lookBytes how much of a line is looked at.
const (
	replyBytes = 1 << 20
	lookBytes  = 400
)

// Names of the rules; see pipeline.Reply.
const (
	methodNone        = "none"
	methodMarks       = "marks"
	methodAttribution = "attribution"
	methodHeader      = "header"
	methodSeparator   = "separator"
)

// takeApart returns what makes the reply when somebody asks for it. A mistake of ours there costs the reply alone.
func (rd *reading) takeApart(text string) func() *pipeline.Reply {
	if text == "" {
		return nil
	}
	log, id := rd.log, rd.envelope.ID
	return sync.OnceValue(func() (r *pipeline.Reply) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("parse: cannot take the text apart", "message", id, "panic", p)
				r = nil
			}
		}()
		return reply(text)
	})
}

// reply takes a text apart into what is new, what is quoted and the signature. Every line is looked at a bounded number of
// times, so that the work is linear.
func reply(text string) *pipeline.Reply {
	if text == "" || len(text) > replyBytes {
		return nil
	}
	r := replyReader{lines: strings.Split(strings.TrimSuffix(text, "\n"), "\n"), method: methodNone}
	r.read()
	fresh, signature := cutSignature(r.fresh)
	return &pipeline.Reply{
		Text: trimBlankLines(fresh), Quoted: trimBlankLines(r.quoted), Signature: trimBlankLines(signature), Method: r.method,
	}
}

type replyReader struct {
	lines         []string
	fresh, quoted []string
	method        string
}

// read sorts the lines. A separator or a copied header makes all that follows a quote; an attribution does only when no
// marked lines follow it, or else it belongs to those.
func (r *replyReader) read() {
	for i := 0; i < len(r.lines); i++ {
		l := r.lines[i]
		if isMarked(l) {
			r.found(methodMarks)
			r.quoted = append(r.quoted, l)
			continue
		}
		if r.isSeparator(i) {
			r.rest(methodSeparator, i)
			return
		}
		if r.isHeaderBlock(i) {
			r.rest(methodHeader, i)
			return
		}
		if n := r.attribution(i); n > 0 {
			if !r.marksFollow(i + n) {
				r.rest(methodAttribution, i)
				return
			}
			r.found(methodAttribution)
			for !isMarked(r.lines[i+n]) {
				n++
			}
			r.quoted = append(r.quoted, r.lines[i:i+n]...)
			i += n - 1
			continue
		}
		r.fresh = append(r.fresh, l)
	}
}

// found keeps the first rule that applied.
func (r *replyReader) found(method string) {
	if r.method == methodNone {
		r.method = method
	}
}

// rest makes everything from line i on a quote.
func (r *replyReader) rest(method string, i int) {
	r.found(method)
	r.quoted = append(r.quoted, r.lines[i:]...)
}

func isMarked(l string) bool { return strings.HasPrefix(strings.TrimLeft(cut(l, 8), " \t\u00a0"), ">") }

// marksFollow reports whether the next lines that are not blank, from i, are marked as quotes. Up to 5 blank ones may
// stand between.
func (r *replyReader) marksFollow(i int) bool {
	for j := i; j < len(r.lines) && j < i+6; j++ {
		if strings.TrimSpace(r.lines[j]) != "" {
			return isMarked(r.lines[j])
		}
	}
	return false
}

// look is a line as the rules see it: its beginning, in lower case, without emphasis, marks of direction, and blanks around it.
func look(l string) string {
	return strings.ToLower(strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '*' || strings.ContainsRune(directionMarks, r):
			return -1
		case r == '’':
			return '\''
		}
		return r
	}, cut(l, lookBytes))))
}

// directionMarks are invisible: they say in which direction a text is written.
const directionMarks = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"

// dashes are what rules are drawn with.
const dashes = "-_=—–‐"

// isSeparator recognises a line like "-----Original Message-----", or a rule above a copied header.
func (r *replyReader) isSeparator(i int) bool {
	if c := firstRune(strings.TrimLeft(cut(r.lines[i], 40), " \t*")); !strings.ContainsRune(dashes+"bB", c) {
		return false
	}
	l := look(r.lines[i])
	if l == "" || !strings.ContainsRune(dashes, firstRune(l)) && !strings.HasPrefix(l, "begin forwarded") {
		return false
	}
	inner := strings.Trim(l, dashes+" \t:")
	if inner == "" {
		// A rule.
		if utf8.RuneCountInString(l) < 5 {
			return false
		}
		for j := i + 1; j < len(r.lines) && j < i+4; j++ {
			if strings.TrimSpace(r.lines[j]) != "" {
				return r.isHeaderBlock(j)
			}
		}
		return false
	}
	for _, s := range separators() {
		if inner == s {
			return true
		}
	}
	// "---- On Mon, 05 Jan 2026 15:04:05 +0100 Bob wrote ----"
	if strings.HasSuffix(l, "--") && startsAttribution(inner) && isAttribution(inner+":") {
		return true
	}
	return strings.HasPrefix(l, "begin forwarded message")
}

func firstRune(s string) rune {
	c, _ := utf8.DecodeRuneInString(s)
	return c
}

func separators() []string {
	return []string{
		"original message", "forwarded message", "original appointment", "reply message", "ursprüngliche nachricht",
		"originalnachricht", "original-nachricht", "ursprüngliche mail", "weitergeleitete nachricht", "message d'origine",
		"message original", "message transféré", "message initial", "mensaje original", "mensaje reenviado", "messaggio originale",
		"messaggio inoltrato", "messaggio originario", "mensagem original", "mensagem encaminhada", "oorspronkelijk bericht",
		"origineel bericht", "doorgestuurd bericht", "ursprungligt meddelande", "originalmeddelande", "oprindelig meddelelse",
		"original meddelelse", "opprinnelig melding", "originalmelding", "videresendt melding", "alkuperäinen viesti",
		"oryginalna wiadomość", "wiadomość oryginalna", "wiadomość przekazana", "původní zpráva", "původní e-mail", "původní email", "pôvodná správa", "izvorna poruka", "originalna poruka", "algne kiri", "pesan asli", "ข้อความเดิม", "الرسالة الأصلية",
		"přeposlaná zpráva",
		"исходное сообщение", "пересылаемое сообщение", "пересылаемое письмо", "оригінальне повідомлення", "orijinal mesaj",
		"özgün ileti", "iletilen mesaj", "eredeti üzenet", "mesaj original", "αρχικό μήνυμα", "元のメッセージ", "転送されたメッセージ",
		"原始邮件", "原始郵件", "原始信件", "邮件原件", "转发邮件", "转发的邮件", "원본 메시지", "원본 메일", "전달된 메시지", "tin nhắn gốc", "הודעה מקורית",
	}
}

// isHeaderBlock reports whether a header block copied into the text begins at line i: who wrote, and at least two of
// when, to whom and what about in the lines below.
func (r *replyReader) isHeaderBlock(i int) bool {
	var seen [wordSubject + 1]bool
	others, looked := 0, 0
	if headerWord(r.lines[i]) == wordDate && i+1 < len(r.lines) {
		// Some begin with the date.
		seen[wordDate] = true
		others++
		i++
	}
	if headerWord(r.lines[i]) != wordFrom {
		return false
	}
	for j := i + 1; j < len(r.lines) && looked < 8 && j < i+16; j++ {
		if strings.TrimSpace(r.lines[j]) == "" {
			continue
		}
		looked++
		if w := headerWord(r.lines[j]); w > wordFrom && !seen[w] {
			seen[w] = true
			others++
		}
	}
	return others >= 2
}

// What a line of a copied header says.
const (
	wordNone = iota
	wordFrom
	wordDate
	wordTo
	wordSubject
)

// headerWord returns what the word before the colon of a line means.
func headerWord(l string) int {
	l = cut(l, 60)
	if !strings.ContainsAny(l, ":：") {
		return wordNone
	}
	l = look(l)
	i := strings.IndexAny(l, ":：")
	if i < 1 {
		return wordNone
	}
	switch strings.TrimSpace(l[:i]) {
	case "from", "von", "de", "da", "van", "från", "fra", "lähettäjä", "od", "от", "від", "kimden", "gönderen", "feladó",
		"de la", "από", "差出人", "送信者", "发件人", "發件人", "寄件者", "보낸 사람", "보낸사람", "từ", "מאת", "من", "expéditeur", "remitente", "mittente", "afzender", "absender":
		return wordFrom
	case "sent", "date", "gesendet", "datum", "envoyé", "fecha", "enviado", "enviado el", "enviada em", "data", "inviato", "verzonden",
		"skickat", "sendt", "dato", "lähetetty", "päiväys", "wysłano", "odesláno", "отправлено", "дата", "надіслано", "gönderildi",
		"tarih", "elküldve", "dátum", "trimis", "ημερομηνία", "送信日時", "日時", "日付", "发送时间", "發送時間", "寄件日期", "日期", "보낸 날짜", "날짜", "ngày",
		"נשלח", "تاريخ", "sent at", "date d'envoi":
		return wordDate
	case "to", "cc", "an", "à", "a", "para", "aan", "till", "til", "kopie", "kopia", "vastaanottaja", "do", "komu", "кому", "копия", "kime",
		"címzett", "către", "προς", "宛先", "收件人", "받는 사람", "받는사람", "đến", "אל", "إلى", "reply-to", "antwort an":
		return wordTo
	case "subject", "betreff", "objet", "asunto", "oggetto", "assunto", "onderwerp", "ämne", "emne", "aihe", "temat", "předmět",
		"тема", "konu", "tárgy", "subiect", "θέμα", "件名", "主题", "主題", "제목", "chủ đề", "נושא", "الموضوع", "sujet":
		return wordSubject
	}
	return wordNone
}

// attribution returns how many lines, from i, introduce a quote ("On ... Bob wrote:"); 0 when they do not. Mail programs
// break long ones into up to three.
func (r *replyReader) attribution(i int) int {
	if !r.colonAhead(i) {
		return 0
	}
	var joined string
	for n := 1; n <= 3 && i+n <= len(r.lines); n++ {
		l := look(r.lines[i+n-1])
		if l == "" || isMarked(r.lines[i+n-1]) {
			return 0
		}
		joined = strings.TrimSpace(joined + " " + l)
		if n == 1 && !strings.ContainsFunc(l, unicode.IsDigit) && !strings.Contains(l, "@") && !startsAttribution(l) {
			return 0
		}
		if isAttribution(joined) && (n == 1 || startsAttribution(joined)) {
			return n
		}
	}
	return 0
}

// colonAhead reports whether one of the three lines from i ends in a colon: a quick look, because most do not.
func (r *replyReader) colonAhead(i int) bool {
	for _, l := range r.lines[i:min(i+3, len(r.lines))] {
		if l = strings.TrimRight(l, " \t\r*\u00a0"+directionMarks); strings.HasSuffix(l, ":") || strings.HasSuffix(l, "：") {
			return true
		}
	}
	return false
}

// isAttribution reports whether a line ends in a colon, names a time or an address, and says that somebody wrote.
func isAttribution(l string) bool {
	if !strings.HasSuffix(l, ":") && !strings.HasSuffix(l, "：") || utf8.RuneCountInString(l) > lookBytes {
		return false
	}
	address := strings.Contains(l, "@")
	if !address && !strings.ContainsFunc(l, unicode.IsDigit) {
		return false
	}
	for _, v := range []string{
		"wrote", "writes", "schrieb", "a écrit", "escribió", "ha scritto", "scrive", "escreveu", "schreef", "skrev", "napisał", "napsal",
		"написал", "писал", "пишет", "написав", "kirjoitti", "yazdı", "yazmış", "írta", "a scris", "έγραψε", "đã viết", "写道", "寫道",
		"書きました", "さんは書", "のメール", "작성", "썼습니다", "님이", "כתב", "מאת", "كتب", "كتابة", "نوشت", "เขียน", "menulis", "missatge de", "napisala", "написа", "rakstīja", "napisana przez", "pisze", "va escriure",
		"napísal", "rašė", "kirjutas", "je napisao", "je napisala",
	} {
		if strings.Contains(l, v) {
			// "On 5 May we wrote the following plan:" is a sentence.
			english := v == "wrote" || v == "writes"
			return !english || address || strings.HasSuffix(l, v+":") || strings.HasSuffix(l, v+"：")
		}
	}
	// Without a verb: a time and an address ("Thu, 26 Jun 2014 14:00 от Alex <alex@example.com>:").
	return address && hasClock(l) && startsAttribution(l)
}

// hasClock reports whether a line has a time of day in it ("14:00").
func hasClock(l string) bool {
	for i := 1; i+2 < len(l); i++ {
		if l[i] == ':' && isDigit(l[i-1]) && isDigit(l[i+1]) && isDigit(l[i+2]) {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// startsAttribution reports whether a line begins as attributions do: with a date, or the word before one.
func startsAttribution(l string) bool {
	if l == "" {
		return false
	}
	if isDigit(l[0]) {
		return true
	}
	word, _, _ := strings.Cut(l, " ")
	switch strings.TrimRight(word, ",.") {
	case "on", "am", "le", "el", "il", "em", "op", "den", "w", "dne", "dnia", "в", "on:", "la", "στις", "vào", "於", "在", "pe", "ב", "a(z)",
		"mon", "tue", "wed", "thu", "fri", "sat", "sun", "mo", "di", "mi", "do", "fr", "sa", "so", "lun", "mar", "mer", "jeu", "ven", "sam", "dim",
		"пн", "вт", "ср", "чт", "пт", "сб", "вс", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье",
		"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
		"ma", "ti", "ke", "to", "pe.", "pon", "wt", "śr", "czw", "pt", "sob", "nie", "ndz", "po", "út", "st", "čt", "pá", "ne", "lör", "sön", "tor", "ons", "tis", "mån", "fre":
		return true
	}
	return false
}

// cutSignature cuts the signature off: from the line "-- " (RFC 3676 4.3) or the rule above a list's footer, and the last
// line when a telephone wrote it or when it is a name behind a hyphen.
func cutSignature(lines []string) (text, signature []string) {
	end := len(lines)
	for i, l := range lines {
		t := strings.TrimRight(l, " \t\r\u00a0")
		if t == "--" || len(t) >= 20 && strings.Trim(t, "_") == "" {
			end = i
			break
		}
	}
	last := end - 1
	for last >= 0 && strings.TrimSpace(lines[last]) == "" {
		last--
	}
	if last >= 0 && (isDeviceLine(lines[last]) || last > 0 && isSignedName(lines[last])) {
		end = last
	}
	return lines[:end], lines[end:]
}

// isSignedName recognises "-Jane Doe": at most three words with capitals, right behind a hyphen.
func isSignedName(l string) bool {
	name, ok := strings.CutPrefix(cut(strings.TrimSpace(l), 60), "-")
	if !ok || !unicode.IsUpper(firstRune(name)) {
		return false
	}
	fields := strings.Fields(name)
	for _, w := range fields {
		if r := firstRune(w); !unicode.IsUpper(r) || strings.ContainsAny(w, ":;,0123456789") {
			return false
		}
	}
	return len(fields) <= 3
}

// isDeviceLine recognises the one-line signatures of mail programs ("Sent from my iPhone"). They are short; a sentence
// that begins like one is none.
func isDeviceLine(l string) bool {
	l = strings.Trim(look(l), "<>[]_ .")
	if len(strings.Fields(l)) > 7 || utf8.RuneCountInString(l) > 60 {
		return false
	}
	for _, p := range []string{
		"sent from my ", "sent from mail for", "sent from yahoo", "sent from outlook", "sent via ", "sent using ", "sent with ", "sent on the go",
		"get outlook for", "von meinem ", "gesendet von ", "gesendet mit ", "envoyé de mon ", "envoyé depuis ", "envoyé à partir de", "enviado desde ",
		"enviado de mi ", "enviado do meu ", "enviado a partir", "enviado via ", "inviato da ", "inviato dal ", "verzonden vanaf ", "verstuurd vanaf ",
		"skickat från ", "sendt fra ", "lähetetty ", "wysłane z ", "odesláno z ", "отправлено с ", "отправлено из ", "надіслано з ", "iphone'umdan ",
		"küldve ", "trimis de pe ", "στάλθηκε από", "发自我的", "发自 ", "從我的", "從 ", "傳送自", "나의 ", "gửi từ ", "נשלח מה", "أرسلت من", "mobil gesendet",
	} {
		if strings.HasPrefix(l, p) {
			return true
		}
	}
	for _, s := range []string{"から送信", "에서 보냄", "'umdan gönderildi", "gönderildi", "'dan gönderildi"} {
		if strings.HasSuffix(l, s) {
			return true
		}
	}
	return false
}

// trimBlankLines joins lines, without the blank ones at both ends and blanks at the very end.
func trimBlankLines(lines []string) string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return strings.TrimRightFunc(strings.Join(lines, "\n"), unicode.IsSpace)
}
