package parse

import (
	"encoding/binary"
	"errors"
)

// rtfPrefix is what the dictionary of packed RTF begins with ([MS-OXRTFCP] 2.1.2.1).
const rtfPrefix = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0` +
	"\r\n" + `\par \pard\plain\f0\fs20\b\i\u\tab\tx`

const (
	rtfPacked   = 0x75465a4c // "LZFu"
	rtfUnpacked = 0x414c454d // "MELA"
)

var errRTF = errors.New("unpack RTF: damaged")

// unpackRTF unpacks the RTF of a TNEF container ([MS-OXRTFCP] 3.1.3). One octet stands for at most 8.5. What could be
// unpacked before a damage is returned with the error.
func unpackRTF(b []byte) ([]byte, error) {
	if len(b) < 16 {
		return nil, errRTF
	}
	size, magic := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	b = b[16:]
	switch magic {
	case rtfUnpacked:
		return b[:min(uint64(size), uint64(len(b)), rtfBytes)], nil
	case rtfPacked:
	default:
		return nil, errRTF
	}
	// The dictionary is a ring of 4096 octets.
	var ring [4096]byte
	w := copy(ring[:], rtfPrefix)
	var out []byte
	put := func(c byte) {
		out = append(out, c)
		ring[w] = c
		w = (w + 1) % len(ring)
	}
	for i := 0; i < len(b) && len(out) < rtfBytes; {
		flags := b[i]
		i++
		for bit := range 8 {
			if flags>>bit&1 == 0 {
				if i >= len(b) {
					return out, errRTF
				}
				put(b[i])
				i++
				continue
			}
			if i+1 >= len(b) {
				return out, errRTF
			}
			ref := int(b[i])<<8 | int(b[i+1])
			i += 2
			from, n := ref>>4, ref&15+2
			if from == w {
				// A reference to the write position is the end.
				return out, nil
			}
			for k := range n {
				put(ring[(from+k)%len(ring)])
			}
		}
	}
	if uint64(len(out)) < uint64(size) {
		return out, errRTF
	}
	return out, nil
}
