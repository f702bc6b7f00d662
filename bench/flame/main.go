// Command flame makes two things of a CPU profile of mxhook: a picture of where the time goes, and the budget of a mail by
// stage.
//
//	go run ./flame -svg cpu.svg -title "before" cpu.pprof
//	go run ./flame -budget -cpu 640 cpu.pprof
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/google/pprof/profile"

	"mxhook/bench/page"
)

func main() {
	svg := flag.String("svg", "", "write a flame graph to this file")
	title := flag.String("title", "CPU", "what stands above it")
	least := flag.Float64("least", 0.4, "the least share of a box, in percent")
	sample := flag.String("sample", "", "which value of a sample counts, such as alloc_space; empty is the last")
	budget := flag.Bool("budget", false, "print the budget of a mail by stage")
	cpu := flag.Float64("cpu", 0, "CPU of a mail in microseconds, which the shares of the budget are of")
	file := flag.String("page", "", "a page of Markdown between whose marks the budget goes as well")
	flag.Parse()
	if err := run(flag.Arg(0), *svg, *title, *sample, *least, *budget, *cpu, *file); err != nil {
		fmt.Fprintln(os.Stderr, "flame:", err)
		os.Exit(1)
	}
}

func run(name, svg, title, sample string, least float64, budget bool, cpu float64, file string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	p, err := profile.Parse(f)
	_ = f.Close()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	value := len(p.SampleType) - 1
	for i, t := range p.SampleType {
		if t.Type == sample {
			value = i
		}
	}
	if svg != "" {
		if err := os.WriteFile(svg, draw(tree(p, value), title, least/100), 0o644); err != nil {
			return err
		}
	}
	if !budget {
		return nil
	}
	text := table(p, value, cpu)
	fmt.Print(text)
	if file != "" {
		return page.Replace(file, "budget", text)
	}
	return nil
}

// stack returns the functions of a sample, the innermost first.
func stack(s *profile.Sample) []string {
	var out []string
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function != nil {
				out = append(out, line.Function.Name)
			}
		}
	}
	return out
}
