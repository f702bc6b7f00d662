package pipeline

import "strings"

// Nearest returns the candidate that word most probably was meant to be: the one with the fewest edits, if these are
// few for its length. Case does not count. It is for messages about names that people misspell.
func Nearest(word string, candidates []string) (string, bool) {
	if len(word) > 100 {
		return "", false
	}
	best, bestDistance := "", 1+len(word)/3
	for _, c := range candidates {
		if len(c) > 100 {
			continue
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestDistance || (d == bestDistance && best == "") {
			best, bestDistance = c, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string
// alignment).
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// DidYouMean is the end of a message about an unknown name: "; did you mean x?" or nothing.
func DidYouMean(word string, candidates []string) string {
	if c, ok := Nearest(word, candidates); ok {
		return "; did you mean " + c + "?"
	}
	return ""
}
