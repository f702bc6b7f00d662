package pipeline

import "testing"

func TestSplitPathUndoesQuoting(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][2]string{
		"a@example.org":           {"a", "example.org"},
		`"a@b"@example.org`:       {"a@b", "example.org"},
		`"a\"b\\c"@example.org`:   {`a"b\c`, "example.org"},
		`"a\"@example.org`:        {"a\\", "example.org"},
		`"@example.org`:           {`"`, "example.org"},
		"postmaster":              {"postmaster", ""},
		"":                        {"", ""},
		"SRS0=h=t=d=l@relay.test": {"SRS0=h=t=d=l", "relay.test"},
	} {
		if local, domain := SplitPath(path); local != want[0] || domain != want[1] {
			t.Errorf("%q is %q and %q, want %q", path, local, domain, want)
		}
	}
}
