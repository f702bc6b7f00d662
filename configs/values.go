package configs

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It is written as "50MB" (10^6), "512KiB" (2^10), or a bare number of bytes.
type Size int64

const (
	kibibyte Size = 1 << 10
	megabyte Size = 1_000_000
	gigabyte Size = 1000 * megabyte
)

// units are those of a size, longest names first.
func units() []struct {
	name  string
	bytes Size
} {
	return []struct {
		name  string
		bytes Size
	}{
		{"KiB", kibibyte},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1000},
		{"KB", 1000},
		{"MB", megabyte},
		{"GB", gigabyte},
		{"TB", 1000 * gigabyte},
		{"B", 1},
	}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	number, unit := in, Size(1)
	for _, u := range units() {
		if n, ok := strings.CutSuffix(in, u.name); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.ContainsAny(number, "eExXpP_+") {
		return fmt.Errorf("%q is not a size; write 50MB, 512KiB or a number of bytes", in)
	}
	bytes := n * float64(unit)
	switch {
	case !(bytes >= 0):
		return fmt.Errorf("%q is a negative size", in)
	case bytes >= 1<<62:
		return fmt.Errorf("%q is too large a size", in)
	case bytes != math.Trunc(bytes):
		return fmt.Errorf("%q is not a whole number of bytes", in)
	}
	*s = Size(bytes)
	return nil
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	best := Size(1)
	name := "B"
	for _, u := range units() {
		if s > 0 && s%u.bytes == 0 && u.bytes > best && u.name != "KB" {
			best, name = u.bytes, u.name
		}
	}
	if s == 0 {
		return "0"
	}
	return strconv.FormatInt(int64(s/best), 10) + name
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a length of time, written as "15s", "1h30m", "7d", "1d12h".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	rest, total := in, time.Duration(0)
	if n, tail, ok := strings.Cut(in, "d"); ok {
		days, err := strconv.ParseUint(n, 10, 16)
		if err != nil || days > 100_000 {
			return fmt.Errorf("%q is not a length of time; write 15s, 5m, 12h or 7d", in)
		}
		total, rest = time.Duration(days)*day, tail
	}
	if rest != "" || in == "" {
		t, err := time.ParseDuration(rest)
		switch {
		case err != nil && onlyDigits(in):
			return fmt.Errorf("%q has no unit; write %ss, %sm, %sh or %sd", in, in, in, in, in)
		case err != nil:
			return fmt.Errorf("%q is not a length of time; write 15s, 5m, 12h or 7d", in)
		case t < 0:
			return fmt.Errorf("%q is negative", in)
		case t > math.MaxInt64-total:
			return fmt.Errorf("%q is too long", in)
		}
		total += t
	}
	*d = Duration(total)
	return nil
}

func onlyDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String writes whole days as "7d", "8d" and everything else as time.Duration does, without zero units.
func (d Duration) String() string {
	t := time.Duration(d)
	if t > 0 && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Secret is a text that shows itself to nobody but the caller of Reveal: not in a log, not printed, not in JSON or YAML.
type Secret struct{ value string }

// NewSecret makes a secret.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the text.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.value == "" }

// String is "" without a text, "[secret]" with one.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return "[secret]"
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return fmt.Sprintf("configs.Secret(%q)", s.String()) }

// Format implements fmt.Formatter, so that no verb gets around String.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if f.Flag('#') && verb == 'v' {
		text = s.GoString()
	}
	if verb == 'q' {
		text = strconv.Quote(text)
	}
	_, _ = f.Write([]byte(text)) // a fmt.State does not fail
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, for JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML implements yaml.Marshaler.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}
