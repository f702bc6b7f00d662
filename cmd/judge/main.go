// Command judge plays collections of messages that other projects made, each with the result that its project expects,
// through our readers, and prints how many expectations are met.
//
//	go run ./cmd/judge [-diff] [-data DIR] [SUITE...]
//
// DIR is laid out like ../shared/testdata. Without names all suites are played. The last line is "N passed, N failed".
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// suite is one group of expectations.
type suite struct {
	name, about string
	// play judges all that is in the folder. An error is one of the data or of the machine, never a missed expectation.
	play func(dir string, b *board) error
}

// suites are all there are, in the order in which they are played.
func suites() []suite {
	return append(contentSuites(), authSuites()...)
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0 when the suites were played, 1 when they could not be, 2 for wrong usage.
func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("judge", flag.ContinueOnError)
	flags.SetOutput(errs)
	data := flags.String("data", "../shared/testdata", "folder with the collections")
	diff := flags.Bool("diff", false, "print every expectation that is not met")
	flags.Usage = func() {
		fmt.Fprintf(errs, "usage: judge [-diff] [-data DIR] [SUITE...]\n\n")
		flags.PrintDefaults()
		fmt.Fprintf(errs, "\nsuites:\n")
		for _, s := range suites() {
			fmt.Fprintf(errs, "  %-8s %s\n", s.name, s.about)
		}
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	chosen := suites()
	if flags.NArg() > 0 {
		chosen = nil
		for _, name := range flags.Args() {
			i := slices.IndexFunc(suites(), func(s suite) bool { return s.name == name })
			if i < 0 {
				fmt.Fprintf(errs, "no suite %q\n", name)
				flags.Usage()
				return 2
			}
			chosen = append(chosen, suites()[i])
		}
	}
	b := &board{}
	if *diff {
		b.diffs = out
	}
	for _, s := range chosen {
		if err := s.play(*data, b); err != nil {
			fmt.Fprintf(errs, "play %s: %v\n", s.name, err)
			return 1
		}
	}
	b.print(out)
	if len(b.rows) == 0 {
		fmt.Fprintf(errs, "nothing to judge in %s for %s\n", *data, strings.Join(flags.Args(), " "))
		return 1
	}
	return 0
}
