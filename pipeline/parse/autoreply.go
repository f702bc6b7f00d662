package parse

import "strings"

// isAutoReplySubject reports whether a subject is one that mail programs put before that of the message they answer while
// their user is away. Alone it proves nothing: people write about such replies, too.
func isAutoReplySubject(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, p := range []string{
		"automatic reply", "automated reply", "auto reply", "auto-reply", "autoreply", "auto response", "auto-response", "autoresponse",
		"automatic response", "automated response", "auto:", "out of office", "out of the office", "out-of-office", "vacation reply", "vacation response",
		"on vacation", "away from my mail", "automatische antwort", "automatische abwesenheit", "abwesenheit", "abwesend", "réponse automatique",
		"message d'absence", "absence du bureau", "absent du bureau", "respuesta automática", "respuesta automatica", "fuera de la oficina",
		"risposta automatica", "fuori sede", "fuori ufficio", "resposta automática", "resposta automatica", "fora do escritório", "ausência temporária",
		"automatisch antwoord", "afwezigheid", "afwezig", "automatiskt svar", "frånvaro", "automatisk svar", "autosvar", "fravær",
		"automaattinen vastaus", "poissa", "automatyczna odpowiedź", "odpowiedź automatyczna", "nieobecność", "automatická odpověď", "automatická odpoveď",
		"mimo kancelář", "автоматический ответ", "автоответ", "автоматична відповідь", "otomatik yanıt", "otomatik cevap", "automatikus válasz",
		"házon kívül", "răspuns automat", "αυτόματη απάντηση", "自動返信", "自動応答", "不在通知", "自动答复", "自动回复", "自動回覆", "외출 중", "자동 회신", "자동 응답",
		"부재중", "trả lời tự động", "תשובה אוטומטית", "מענה אוטומטי", "رد تلقائي",
	} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
