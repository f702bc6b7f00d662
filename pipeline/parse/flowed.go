package parse

import "strings"

// unflow joins the lines of format=flowed text (RFC 3676 4): a line that ends in a blank goes on in the next one of
// the same quote depth. delSp says that this blank is not part of the text (4.5). Lines end in LF.
func unflow(s string, delSp bool) string {
	var out strings.Builder
	out.Grow(len(s))
	// depth is the quote depth of the line that goes on; -1 when none does.
	depth := -1
	for s != "" {
		line, rest, ended := strings.Cut(s, "\n")
		s = rest
		quotes := len(line) - len(strings.TrimLeft(line, ">"))
		text := strings.TrimPrefix(line[quotes:], " ")
		signature := text == "-- "
		if depth >= 0 {
			if quotes != depth || signature {
				// RFC 3676 4.5: the paragraph was cut short.
				out.WriteByte('\n')
				depth = -1
			}
		}
		if depth < 0 && quotes > 0 {
			out.WriteString(line[:quotes])
			out.WriteByte(' ')
		}
		flows := strings.HasSuffix(text, " ") && !signature && ended
		if flows && delSp {
			text = text[:len(text)-1]
		}
		out.WriteString(text)
		switch {
		case flows:
			depth = quotes
		case ended:
			out.WriteByte('\n')
			depth = -1
		}
	}
	return out.String()
}
