package queue

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// What the queue stores is a frame: a head in JSON and, behind it, octets of a message.
//
//	0  "MXQ"    3 octets
//	3  kind     1 octet: M a message, D a delivery, L a dead letter, S deliveries that succeeded
//	4  version  1 octet: 1
//	5  flags    1 octet: bit 0, the head is deflated (RFC 1951)
//	6  length   4 octets, big endian: of the head as stored
//	10 head, then the octets
//
// The head is in the body of the NATS message, not in its header: envelopes may exceed the 64 KiB of that.
const (
	frameMagic   = "MXQ"
	frameVersion = 1
	frameLead    = 10

	kindMail     = 'M'
	kindDelivery = 'D'
	kindDead     = 'L'
	kindLog      = 'S'

	flagDeflated = 1

	// deflateAbove is the size of a head from which it is worth deflating.
	deflateAbove = 16 * kib
	// maxHeadStored and maxHead bound a head, as stored and inflated: an envelope of some 50,000 recipients.
	maxHeadStored = 384 * kib
	maxHead       = 32 * mib
)

// errNewer says that a newer mxhook wrote the record: this one leaves it alone.
var errNewer = errors.New("written by a newer mxhook")

// encodeFrame builds a frame; the octets are copied.
func encodeFrame(kind byte, head any, octets []byte) ([]byte, error) {
	b, err := encodeHead(kind, head)
	if err != nil {
		return nil, err
	}
	return append(slices.Grow(b, len(octets)), octets...), nil
}

// encodeHead builds a frame up to its octets.
func encodeHead(kind byte, head any) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	var flags byte
	if len(text) > deflateAbove {
		if text, err = deflate(text); err != nil {
			return nil, fmt.Errorf("encode record: %w", err)
		}
		flags |= flagDeflated
	}
	if len(text) > maxHeadStored {
		return nil, fmt.Errorf("encode record: its head has %d bytes deflated, more than %d", len(text), maxHeadStored)
	}
	b := make([]byte, 0, frameLead+len(text))
	b = append(b, frameMagic...)
	b = append(b, kind, frameVersion, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...), nil
}

// decodeFrame reads a frame into head; the octets it returns share memory with b.
func decodeFrame(kind byte, b []byte, head any) ([]byte, error) {
	if len(b) < frameLead || string(b[:3]) != frameMagic || b[3] != kind {
		return nil, errors.New("decode record: not a record of this kind")
	}
	if b[4] != frameVersion {
		return nil, fmt.Errorf("decode record: %w: version %d", errNewer, b[4])
	}
	n := binary.BigEndian.Uint32(b[6:frameLead])
	if int64(n) > int64(len(b)-frameLead) {
		return nil, errors.New("decode record: cut short")
	}
	text, octets := b[frameLead:frameLead+int(n)], b[frameLead+int(n):]
	if b[5]&flagDeflated != 0 {
		var err error
		if text, err = inflate(text); err != nil {
			return nil, fmt.Errorf("decode record: %w", err)
		}
	}
	if err := json.Unmarshal(text, head); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	return octets, nil
}

func deflate(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func inflate(b []byte) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), maxHead+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxHead {
		return nil, fmt.Errorf("a head of more than %d bytes", maxHead)
	}
	return out, nil
}
