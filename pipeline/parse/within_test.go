package parse

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"testing"
	"time"
	"unicode/utf8"

	"mxhook/pipeline"
)

// What reading may cost; see docs/decisions/0013.
const (
	cpuBound    = time.Second
	memoryBound = 32 << 20
)

// within runs f, which reads size octets, and holds it to its bounds. Both figures are the process's own, so nothing else
// may run beside it, and how busy the machine is does not count. What is under a bound at the first, cheap look is within
// it; only what is over is looked at again: the least CPU time of three runs, and the peak of the heap instead of the sum
// of all that was allocated.
func within(t testing.TB, size int, f func()) {
	t.Helper()
	limit := uint64(6*size + memoryBound)
	start, before := cpuTime(t), allocated()
	f()
	took, total := cpuTime(t)-start, allocated()-before
	for range 2 {
		if took <= cpuBound {
			break
		}
		start = cpuTime(t)
		f()
		took = min(took, cpuTime(t)-start)
	}
	if took > cpuBound {
		t.Errorf("%d octets took %v of CPU time", size, took)
	}
	if total > limit {
		defer debug.SetGCPercent(debug.SetGCPercent(20))
		if peak := peakHeap(f); peak > limit {
			t.Errorf("%d octets took %d octets of memory, more than %d", size, peak, limit)
		}
	}
}

// allocated returns how many octets this process has allocated so far.
func allocated() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// fuzzMail parses octets within their bounds, and checks what holds for every input.
func fuzzMail(t *testing.T, l Limits, raw []byte) {
	t.Helper()
	s := newStage(t, l)
	raw = bytes.Clone(raw)
	m := &pipeline.Message{}
	within(t, len(raw), func() {
		m = &pipeline.Message{Raw: raw, Envelope: pipeline.Envelope{ReversePath: "sender@example.org"}}
		if err := s.Run(context.Background(), m); err != nil {
			t.Fatalf("Run: %v", err)
		}
	})
	checkInvariants(t, m)
}

// fuzzReader calls a reader of size octets within its bounds, and checks that what it returns is fit for a payload.
func fuzzReader[T any](t *testing.T, size int, read func() T) T {
	t.Helper()
	var v T
	within(t, size, func() { v = read() })
	checkJSON(t, v)
	return v
}

// checkJSON checks that a value becomes JSON that is UTF-8 because its strings are, not because the encoder mends them.
func checkJSON(t testing.TB, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Errorf("as JSON: %v", err)
	}
	if !utf8.Valid(b) {
		t.Error("the JSON is not UTF-8")
	}
	checkStrings(t, reflect.ValueOf(v))
}

// checkStrings checks every string that can be reached from v. Types with methods of their own are checked by their JSON.
func checkStrings(t testing.TB, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			t.Errorf("%.60q is not UTF-8", v.String())
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			checkStrings(t, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			checkStrings(t, v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			checkStrings(t, v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			checkStrings(t, k)
			checkStrings(t, v.MapIndex(k))
		}
	}
}
