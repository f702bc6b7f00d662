package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// collections is where messages of other projects are, when they are there.
var collections = filepath.Join("..", "..", "..", "shared", "testdata")

// floors are those of all tables.
func floors() map[string]float64 {
	all := contentFloors()
	maps.Copy(all, authFloors())
	return all
}

func TestScoresDoNotFall(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(collections); err != nil {
		t.Logf("no collections: %v", err)
		return
	}
	b := &board{}
	for _, s := range suites() {
		if err := s.play(collections, b); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	for table, floor := range floors() {
		sum := b.total(table)
		if sum.passed == 0 || sum.percent() < floor {
			t.Errorf("%s: %d passed, %d failed (%.1f %%), want at least %.1f %%", table, sum.passed, sum.failed, sum.percent(), floor)
		}
	}
	for _, r := range b.rows {
		if _, ok := floors()[r.table]; !ok {
			t.Errorf("table %s has no floor", r.table)
		}
	}
}

// miniature writes a collection of one message with a right and a wrong expectation.
func miniature(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"mime/own/a.eml":            "Subject: one\nTo: a@example.org\n\nbody\n",
		"mime/own/a.gold.json":      `{"subject": "one", "text": "other"}`,
		"mime/own/a.consensus.json": `{"subject": "two", "to": [{"name": "", "address": "a@example.org"}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTableCountsFieldsOfEachCorpus(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run([]string{"-diff", "-data", miniature(t), "mime"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != "3 passed, 2 failed" {
		t.Errorf("the last line is %q", last)
	}
	for _, want := range []string{
		`gold mime/own/a.eml text: got "body", want "other"`,
		`consensus mime/own/a.eml subject: got "one", want "two"`,
		`(?m)^gold +subject +text +all +$`,
		`(?m)^mime/own +1/1 +0/1 +1/2 +50.0 %$`,
	} {
		if !strings.HasPrefix(want, "(?m)") {
			want = regexp.QuoteMeta(want)
		}
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no line like %s in\n%s", want, out.String())
		}
	}
}

func TestWrongUsageIsSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"nosuch"}, 2, `no suite "nosuch"`},
		{[]string{"-nosuch"}, 2, "usage"},
		{[]string{"-data", t.TempDir()}, 1, "nothing to judge"},
	} {
		var out, errs bytes.Buffer
		if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%s: exit code %d, %q", fmt.Sprint(c.args), code, errs.String())
		}
	}
}
