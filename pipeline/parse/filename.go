package parse

import (
	"path"
	"strings"
	"unicode"
)

// maxFilename is how many octets a file name may have on the usual file systems.
const maxFilename = 255

// filename returns the name of an attachment: the sender's, cleaned, or one made of id and type ("part-1.2.pdf"); and
// the sender's own when it is not the same.
func (rd *reading) filename(p *part) (name, sent string) {
	sent = rd.sentName(p)
	return named(sent, "part-"+p.id+extension(p.media.typ))
}

// named cleans the name that a sender gave; without a usable one it returns the other.
func named(sent, other string) (name, original string) {
	if name = cleanFilename(sent); name == "" {
		name = other
	}
	if name == sent {
		return name, ""
	}
	return name, cut(sent, 1000)
}

// sentName returns the file name as the sender wrote it, decoded; "" when there is none.
func (rd *reading) sentName(p *part) string {
	for _, from := range []struct {
		media media
		param string
		field string
	}{
		{p.disposition, "filename", "Content-Disposition"},
		{p.media, "name", "Content-Type"},
		{p.disposition, "name", "Content-Disposition"},
		{p.media, "filename", "Content-Type"},
	} {
		t, ok := from.media.value(from.param)
		if !ok || len(t.octets) == 0 {
			continue
		}
		return rd.paramText(t, words{&rd.notes, p.id, rd.charset})
	}
	return ""
}

// paramText decodes the value of a parameter. Encoded words have no place in it (RFC 2047 5) and are common.
func (rd *reading) paramText(t text, w words) string {
	if t.extended {
		return w.octets(t.charset, t.octets)
	}
	return w.decode(t.octets)
}

// cleanFilename makes a name safe to be one: no path, no control and formatting characters, neither "." nor "..", no
// dots or blanks at the ends, at most 255 octets. It returns "" when nothing is left.
func cleanFilename(name string) string {
	name = strings.TrimSpace(name)
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, `\`) || strings.HasPrefix(name, "..") || len(name) > 2 && name[1] == ':' {
		// A path: only its last element was meant for others.
		name = name[strings.LastIndexAny(name, `/\`)+1:]
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\':
			return '_'
		case unicode.IsControl(r) || isBidi(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, name)
	for strings.Contains(name, "..") {
		name = strings.ReplaceAll(name, "..", ".")
	}
	name = strings.Trim(name, ". ")
	if isReservedName(name) {
		name = "_" + name
	}
	return shorten(name)
}

// isReservedName reports whether a name is one of a device on Windows, whatever its extension.
func isReservedName(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch stem = strings.TrimSpace(stem); stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
}

// isBidi reports whether r is one of the invisible characters that turn a name around ("exe.gpj").
func isBidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
}

// shorten cuts the stem of a name that is too long, so that its extension stays.
func shorten(name string) string {
	if len(name) <= maxFilename {
		return name
	}
	ext := path.Ext(name)
	if len(ext) > 20 {
		ext = ""
	}
	return cut(name, maxFilename-len(ext)) + ext
}

// extension returns the usual extension of a type with its dot. The table is ours: that of the system differs from
// host to host.
func extension(typ string) string {
	switch typ {
	case "text/plain":
		return ".txt"
	case "text/html":
		return ".html"
	case "text/calendar", "application/ics":
		return ".ics"
	case "text/csv":
		return ".csv"
	case "text/vcard", "text/x-vcard", "text/directory":
		return ".vcf"
	case "text/xml", "application/xml":
		return ".xml"
	case "text/rtf", "application/rtf":
		return ".rtf"
	case "text/rfc822-headers", "message/delivery-status", "message/disposition-notification", "message/feedback-report",
		"message/global-delivery-status", "message/global-headers":
		return ".txt"
	case "message/rfc822", "message/global", "message/partial":
		return ".eml"
	case "application/json":
		return ".json"
	case "application/pdf":
		return ".pdf"
	case "application/zip", "application/x-zip-compressed":
		return ".zip"
	case "application/gzip", "application/x-gzip":
		return ".gz"
	case "application/msword":
		return ".doc"
	case "application/vnd.ms-excel":
		return ".xls"
	case "application/vnd.openxmlformats-officedocument.wordprocessingml.document":
		return ".docx"
	case "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":
		return ".xlsx"
	case "application/vnd.openxmlformats-officedocument.presentationml.presentation":
		return ".pptx"
	case "application/ms-tnef", "application/vnd.ms-tnef":
		return ".dat"
	case "application/pgp-signature", "application/pgp-encrypted", "application/pgp-keys":
		return ".asc"
	case "application/pkcs7-signature", "application/x-pkcs7-signature":
		return ".p7s"
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return ".p7m"
	case "image/jpeg", "image/jpg", "image/pjpeg":
		return ".jpg"
	case "image/png", "image/x-png":
		return ".png"
	case "image/gif", "image/bmp", "image/webp", "image/heic", "image/tiff":
		return "." + strings.TrimPrefix(typ, "image/")
	case "image/svg+xml":
		return ".svg"
	case "audio/mpeg":
		return ".mp3"
	case "audio/wav", "audio/x-wav":
		return ".wav"
	case "video/mp4":
		return ".mp4"
	case "video/quicktime":
		return ".mov"
	}
	if strings.HasPrefix(typ, "text/") {
		return ".txt"
	}
	return ".bin"
}
