package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/app"
	"mxhook/console"
	"mxhook/pipeline"
)

func rulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Compare rules on mail that is kept",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return usagef("say diff: `mxhook rules diff --help`")
		},
	}
	cmd.AddCommand(rulesDiffCommand())
	return cmd
}

func rulesDiffCommand() *cobra.Command {
	var api apiFlags
	var since when
	var last int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW [flags]",
		Short: "Take the messages that a running instance keeps through two configurations and list what would change; nothing is delivered",
		Args:  arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 {
				return usagef("--last must be at least 1")
			}
			was, err := loadConfig(args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			will, err := loadConfig(args[1], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if api.config == "" {
				api.config = args[0]
			}
			client, err := api.client()
			if err != nil {
				return err
			}
			diff, err := app.NewDiff(was, will, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if !since.IsZero() && !cmd.Flags().Changed("last") {
				last = maxDiff
			}
			report, err := compareKept(cmd.Context(), client, diff, pipeline.MessageFilter{Since: since.Time}, last)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			return report.write(cmd.OutOrStdout())
		},
	}
	api.add(cmd)
	f := cmd.Flags()
	f.IntVar(&last, "last", 1000, "how many messages, the newest first")
	f.Var(&since, "since", "all messages from then on: 2026-11-21T19:30:00Z, or 2h for two hours ago")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

const (
	// maxDiff bounds the messages that are compared at once.
	maxDiff = 1_000_000
	// diffPage is how many are listed at a time.
	diffPage = 500
	// maxExamples bounds the examples of a group.
	maxExamples = 3
)

// diffReport is what would change.
type diffReport struct {
	Messages   int          `json:"messages"`
	Recipients int          `json:"recipients"`
	Changed    int          `json:"changed"`
	Groups     []*diffGroup `json:"groups"`
}

type diffGroup struct {
	Was      string        `json:"was"`
	Will     string        `json:"will"`
	Count    int           `json:"count"`
	Examples []diffExample `json:"examples"`
}

type diffExample struct {
	Message   string `json:"message"`
	Recipient string `json:"recipient"`
}

// compareKept takes the newest messages that the filter selects, page by page.
func compareKept(ctx context.Context, c *console.Client, diff *app.Diff, f pipeline.MessageFilter, last int) (*diffReport, error) {
	report := &diffReport{Groups: []*diffGroup{}}
	seen := map[string]bool{}
	for last > 0 {
		page, err := c.Messages(ctx, f, diffPage)
		if err != nil {
			return nil, err
		}
		fresh := 0
		for _, m := range page {
			if seen[m.ID] || last == 0 {
				continue
			}
			seen[m.ID] = true
			fresh++
			f.Until = m.ReceivedAt.Add(1) // the next page begins with those of the same time, which were seen
			if m.ReplayOf != "" {
				continue // the message itself is kept too, or was
			}
			last--
			if err := report.take(ctx, c, diff, m); err != nil {
				return nil, err
			}
		}
		if fresh == 0 {
			break
		}
	}
	slices.SortStableFunc(report.Groups, func(a, b *diffGroup) int { return cmp.Compare(b.Count, a.Count) })
	return report, nil
}

// take compares one message.
func (r *diffReport) take(ctx context.Context, c *console.Client, diff *app.Diff, m console.Message) error {
	var octets bytes.Buffer
	if err := c.MessageMail(ctx, m.ID, &octets); err != nil {
		return fmt.Errorf("read message %s: %w", m.ID, err)
	}
	mail := app.TrialMail{Recipients: m.Recipients, From: m.MailFrom, IP: m.Client, Helo: m.Helo, At: m.ReceivedAt, Octets: octets.Bytes()}
	changes, err := diff.Mail(ctx, mail, m.ID)
	if err != nil {
		return fmt.Errorf("compare message %s: %w", m.ID, err)
	}
	r.Messages++
	r.Recipients += len(m.Recipients)
	r.Changed += len(changes)
	for _, change := range changes {
		i := slices.IndexFunc(r.Groups, func(g *diffGroup) bool { return g.Was == change.Was && g.Will == change.Will })
		if i < 0 {
			i = len(r.Groups)
			r.Groups = append(r.Groups, &diffGroup{Was: change.Was, Will: change.Will})
		}
		g := r.Groups[i]
		if g.Count++; len(g.Examples) < maxExamples {
			g.Examples = append(g.Examples, diffExample{m.ID, change.Recipient})
		}
	}
	return nil
}

func (r *diffReport) write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d messages, %d recipients: %d would change\n", r.Messages, r.Recipients, r.Changed)
	for _, g := range r.Groups {
		fmt.Fprintf(&b, "\n%d times\n  was:  %s\n  will: %s\n", g.Count, oneLine(g.Was, 500), oneLine(g.Will, 500))
		for _, e := range g.Examples {
			fmt.Fprintf(&b, "    %s %s\n", e.Message, oneLine(e.Recipient, 320))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
