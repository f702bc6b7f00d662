package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// tally counts expectations.
type tally struct{ passed, failed int }

func (t tally) percent() float64 { return 100 * float64(t.passed) / float64(max(1, t.passed+t.failed)) }

// row is a collection under one kind of expectation.
type row struct {
	table, corpus string
	fields        map[string]*tally
}

// board collects the results of the suites: for each table ("gold") its collections by fields.
type board struct {
	rows []*row
	// diffs gets a line for each expectation that is not met; nil for none.
	diffs io.Writer
}

// judge counts one field of one message.
func (b *board) judge(table, corpus, message, field string, ok bool, format string, args ...any) {
	i := slices.IndexFunc(b.rows, func(r *row) bool { return r.table == table && r.corpus == corpus })
	if i < 0 {
		i = len(b.rows)
		b.rows = append(b.rows, &row{table, corpus, map[string]*tally{}})
	}
	t := b.rows[i].fields[field]
	if t == nil {
		t = &tally{}
		b.rows[i].fields[field] = t
	}
	if ok {
		t.passed++
		return
	}
	t.failed++
	if b.diffs != nil {
		fmt.Fprintf(b.diffs, "%s %s %s: %.600s\n", table, message, field, fmt.Sprintf(format, args...))
	}
}

// total adds up a table; "" for all of them.
func (b *board) total(table string) tally {
	var sum tally
	for _, r := range b.rows {
		if table != "" && r.table != table {
			continue
		}
		for _, t := range r.fields {
			sum.passed += t.passed
			sum.failed += t.failed
		}
	}
	return sum
}

// print writes each table, its sum, and the sum of all.
func (b *board) print(out io.Writer) {
	var tables []string
	for _, r := range b.rows {
		if !slices.Contains(tables, r.table) {
			tables = append(tables, r.table)
		}
	}
	for _, table := range tables {
		b.printTable(out, table)
	}
	all := b.total("")
	fmt.Fprintf(out, "%d passed, %d failed\n", all.passed, all.failed)
}

// printTable writes a line for each collection and a column for each field, as passed/judged.
func (b *board) printTable(out io.Writer, table string) {
	sums := map[string]*tally{}
	var columns []string
	for _, r := range b.rows {
		if r.table != table {
			continue
		}
		for field, t := range r.fields {
			if sums[field] == nil {
				sums[field] = &tally{}
				columns = append(columns, field)
			}
			sums[field].passed += t.passed
			sums[field].failed += t.failed
		}
	}
	slices.Sort(columns)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, fields map[string]*tally) {
		fmt.Fprint(w, name)
		var sum tally
		for _, c := range columns {
			if t := fields[c]; t != nil {
				fmt.Fprintf(w, "\t%d/%d", t.passed, t.passed+t.failed)
				sum.passed, sum.failed = sum.passed+t.passed, sum.failed+t.failed
			} else {
				fmt.Fprint(w, "\t-")
			}
		}
		fmt.Fprintf(w, "\t%d/%d\t%.1f %%\n", sum.passed, sum.passed+sum.failed, sum.percent())
	}
	fmt.Fprint(w, table)
	for _, c := range columns {
		fmt.Fprintf(w, "\t%s", c)
	}
	fmt.Fprint(w, "\tall\t\n")
	for _, r := range b.rows {
		if r.table == table {
			line(r.corpus, r.fields)
		}
	}
	line("sum", sums)
	w.Flush()
	fmt.Fprintln(out)
}
