package pipeline

import "strings"

// SplitPath splits an envelope address at its last @, since a quoted local part may have others, and undoes the quoting
// (RFC 5321 4.1.2). Without an @ all of it is the local part.
func SplitPath(addr string) (local, domain string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr, ""
	}
	local, domain = addr[:at], addr[at+1:]
	if len(local) < 2 || local[0] != '"' || local[len(local)-1] != '"' {
		return local, domain
	}
	var b strings.Builder
	quoted := local[1 : len(local)-1]
	for i := 0; i < len(quoted); i++ {
		if quoted[i] == '\\' && i+1 < len(quoted) {
			i++
		}
		b.WriteByte(quoted[i])
	}
	return b.String(), domain
}
