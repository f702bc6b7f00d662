package load

import (
	"fmt"
	"strconv"
	"strings"
)

// Mix are sizes of mails in bytes and their shares of the mails sent.
type Mix []Portion

// Portion is one size of a mix.
type Portion struct {
	Size  int
	Share int
}

// ParseMix reads "1KB:60,100KB:30,5MB:10"; a size without a share has 1.
func ParseMix(text string) (Mix, error) {
	var m Mix
	for item := range strings.SplitSeq(text, ",") {
		size, share, has := strings.Cut(strings.TrimSpace(item), ":")
		p := Portion{Share: 1}
		unit := 1
		for suffix, n := range map[string]int{"KB": 1000, "MB": 1000_000} {
			if s, ok := strings.CutSuffix(size, suffix); ok {
				size, unit = s, n
			}
		}
		n, err := strconv.Atoi(size)
		if err == nil && has {
			p.Share, err = strconv.Atoi(share)
		}
		if err != nil || n < 1 || p.Share < 1 {
			return nil, fmt.Errorf("size %q: write it like 10KB or 10KB:3", item)
		}
		p.Size = n * unit
		m = append(m, p)
	}
	return m, nil
}

// size is the size of the n-th mail: the shares are spread evenly and always in the same way.
func (m Mix) size(n int) int {
	all := 0
	for _, p := range m {
		all += p.Share
	}
	// A multiplication by a number without a common factor visits every place once before it repeats.
	at := n * 7919 % all
	for _, p := range m {
		if at -= p.Share; at < 0 {
			return p.Size
		}
	}
	return m[0].Size
}
