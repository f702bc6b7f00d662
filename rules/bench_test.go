package rules

import (
	"fmt"
	"testing"
)

func benchRules(n int) []Rule {
	rs := make([]Rule, n)
	for i := range rs {
		rs[i] = Rule{
			Name: fmt.Sprint("r", i), To: []string{"a"},
			When: fmt.Sprintf(`recipient.domain == "d%d.example" and recipient.local startsWith "ticket-" and sender.verified`, i),
		}
	}
	return rs
}

// BenchmarkRoute routes a message of two recipients through rules that do not match: the longest way.
func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			table, err := Compile(benchRules(n), Options{Defaults: []string{"d"}})
			if err != nil {
				b.Fatal(err)
			}
			m := sample()
			b.ReportAllocs()
			for b.Loop() {
				if routing, _ := table.Route(m); len(routing.Targets) != 2 {
					b.Fatal(routing)
				}
			}
		})
	}
}

// BenchmarkRouteWithLists looks a recipient up in lists of several sizes.
func BenchmarkRouteWithLists(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint("entries=", n), func(b *testing.B) {
			var entries []string
			for i := range n {
				entries = append(entries, fmt.Sprintf("user%d@example.com", i))
			}
			table, err := Compile([]Rule{{Name: "r", When: `recipient.address in list("users")`, To: []string{"a"}}},
				Options{Lists: []List{{Name: "users", Entries: entries}}, Defaults: []string{"d"}})
			if err != nil {
				b.Fatal(err)
			}
			m := sample()
			b.ReportAllocs()
			for b.Loop() {
				if routing, _ := table.Route(m); len(routing.Targets) != 2 {
					b.Fatal(routing)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			rs := benchRules(n)
			for b.Loop() {
				if _, err := Compile(rs, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
