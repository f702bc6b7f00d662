package pipeline

import (
	"fmt"
	"testing"
)

// BenchmarkProcessor takes messages to sinks that answer at once: what lies between the stages, the rules and the requests.
func BenchmarkProcessor(b *testing.B) {
	for _, sinks := range []int{1, 3} {
		b.Run(fmt.Sprintf("sinks-%d", sinks), func(b *testing.B) {
			var names routes
			outs := map[string]Sink{}
			for i := range sinks {
				names = append(names, fmt.Sprintf("sink%d", i))
				outs[names[i]] = delivers()
			}
			p, _ := newTestProcessor(names, &outboxRecorder{}, outletsOf(16, outs))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Process(b.Context(), testMessage()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
