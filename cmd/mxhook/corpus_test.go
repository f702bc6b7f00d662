package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mxhook/cmd/mxhook/app/apptest"
)

// corpus is where other projects' mails are, when they are there at all.
const corpus = "../../../shared/testdata"

// Every mail of the corpus goes in by SMTP and comes out as a webhook, trouble or not; the octets are those sent.
func TestEveryMailOfTheCorpusComesOut(t *testing.T) {
	t.Parallel()
	files := corpusMails(t)
	i := apptest.Start(t, apptest.Options{})
	var mu sync.Mutex
	sums := map[string]string{} // delivery id -> SHA-256 of the octets sent
	names := map[string]string{}
	load := apptest.Load{
		Addr: i.SMTP(), Connections: 8,
		Make: func(n int) apptest.Mail {
			return apptest.Mail{From: "sender@example.org", To: []string{"in@example.com"}, Data: files[n].octets}
		},
		Accepted: func(n int, id string) {
			sum := sha256.Sum256(files[n].octets)
			mu.Lock()
			defer mu.Unlock()
			sums[id+".hook"] = hex.EncodeToString(sum[:])
			names[id+".hook"] = files[n].name
		},
	}
	if err := load.Run(t.Context(), len(files)); err != nil {
		t.Fatal(err)
	}
	hooks := i.Endpoint.Wait(t, 3*time.Minute, "all webhooks", func([]apptest.Webhook) bool {
		return len(i.Endpoint.Accepted()) == len(files)
	})
	problems, unread := 0, 0
	for _, hook := range hooks {
		var p struct {
			Data struct {
				Raw struct {
					SHA256 string `json:"sha256"`
				} `json:"raw"`
				Message  *struct{}  `json:"message"`
				Problems []struct{} `json:"problems"`
			} `json:"data"`
		}
		hook.Payload(t, &p)
		if p.Data.Raw.SHA256 != sums[hook.ID] {
			t.Errorf("%s: octets that arrived have SHA-256 %s, those sent %s", names[hook.ID], p.Data.Raw.SHA256, sums[hook.ID])
		}
		if len(p.Data.Problems) > 0 {
			problems++
		}
		if p.Data.Message == nil {
			unread++
		}
	}
	dead := i.Dead(t)
	t.Logf("sent %d, delivered %d (%d with problems, %d without content), dead %d", len(files), len(i.Endpoint.Accepted()), problems, unread, len(dead))
	if len(dead) > 0 {
		t.Errorf("dead letters: %+v", dead)
	}
}

type corpusMail struct {
	name   string
	octets []byte
}

// corpusMails reads every .eml of the corpus as SMTP would carry it; without the corpus, the demo's samples.
func corpusMails(t *testing.T) []corpusMail {
	t.Helper()
	var mails []corpusMail
	add := func(name string, raw []byte) {
		raw = withCRLF(raw)
		if !strings.HasSuffix(string(raw), "\r\n") {
			raw = append(raw, "\r\n"...) // the end of data needs a line end before it
		}
		mails = append(mails, corpusMail{name, raw})
	}
	if _, err := os.Stat(corpus); err != nil {
		t.Logf("%s is not there: the demo's samples stand in", corpus)
		for n := 1; n <= 4; n++ {
			matches, _ := fs.Glob(sampleFiles, fmt.Sprintf("samples/%d-*.eml", n))
			raw, err := sampleFiles.ReadFile(matches[0])
			if err != nil {
				t.Fatal(err)
			}
			add(matches[0], raw)
		}
		return mails
	}
	err := filepath.WalkDir(corpus, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".eml") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		add(strings.TrimPrefix(path, corpus+"/"), raw)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return mails
}
