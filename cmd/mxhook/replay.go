package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mxhook/console"
	"mxhook/pipeline"
)

// replayCommand replays messages or deliveries, page by page: what was done stays done when it is interrupted, and
// --resume goes on from there.
func replayCommand(api *apiFlags, what string) *cobra.Command {
	r := console.ReplayRequest{What: what}
	var mf pipeline.MessageFilter
	var df pipeline.DeliveryFilter
	var since, until when
	var resume string
	var asJSON bool
	cmd := &cobra.Command{
		Use:  "replay [ID...]",
		Args: arguments(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.IDs = args
			r.Filter = console.ReplayFilter{
				State: df.State, Message: df.Message, Sink: df.Sink, Rule: df.Rule, Recipient: mf.Recipient + df.Recipient, From: mf.From,
				Since: since.Time, Until: until.Time,
			}
			if len(args) == 0 && r.Filter == (console.ReplayFilter{}) && !r.All {
				return usagef("name ids, or select some: --all selects everything that is kept; --dry-run only counts")
			}
			if resume != "" {
				r.ID, r.Cursor, _ = strings.Cut(resume, "@")
			}
			c, err := api.client()
			if err != nil {
				return err
			}
			sum, err := replayPages(cmd, c, r)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), sum)
			} else if r.DryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "%d would be replayed; %d are due anyway, %d cannot be\n",
					sum.Matched-sum.Skipped-len(sum.Failed), sum.Skipped, len(sum.Failed))
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "%d replayed, %d due anyway, %d failed\n", sum.Replayed, sum.Skipped, len(sum.Failed))
			}
			if err == nil && len(sum.Failed) > 0 {
				err = fmt.Errorf("%d of %d could not be replayed", len(sum.Failed), sum.Matched)
			}
			return err
		},
	}
	switch what {
	case "messages":
		cmd.Short = "Process kept messages again, under new message ids that name the old ones: by id, or all that are selected"
		addMessageFilter(cmd, &mf)
	default:
		cmd.Short = "Deliver again, under new delivery ids that name the old ones, what was delivered, waits or was given up"
		addDeliveryFilter(cmd, &df)
	}
	addTimes(cmd, &since, &until)
	cmd.Flags().StringVar(&r.To, "to", "", "name of the sink to deliver to (default: the one it was meant for, or where the rules say)")
	cmd.Flags().Float64Var(&r.Rate, "rate", 0, "at most so many in a second (default: as fast as it goes)")
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only count what would be replayed")
	cmd.Flags().BoolVar(&r.All, "all", false, "everything that is kept")
	cmd.Flags().StringVar(&resume, "resume", "", "go on with an interrupted replay: what that printed, with the same other flags")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the new ids")
	return cmd
}

// shownMade bounds the new ids that are kept for the end of a replay.
const shownMade = 100_000

func replayPages(cmd *cobra.Command, c *console.Client, r console.ReplayRequest) (console.ReplayAnswer, error) {
	sum := console.ReplayAnswer{Made: []pipeline.Replayed{}, Failed: []pipeline.ReplayFailure{}}
	progress := cmd.ErrOrStderr()
	for {
		page, err := c.ReplayPage(cmd.Context(), r)
		if err != nil {
			if r.ID != "" && errors.Is(cmd.Context().Err(), context.Canceled) {
				err = errors.New("interrupted")
			}
			if r.ID != "" && !r.DryRun {
				err = fmt.Errorf("%w; %d are replayed: go on with --resume '%s@%s'", err, sum.Replayed, r.ID, r.Cursor)
			}
			return sum, err
		}
		sum.ID, sum.Matched, sum.Replayed, sum.Skipped = page.ID, sum.Matched+page.Matched, sum.Replayed+page.Replayed, sum.Skipped+page.Skipped
		if len(sum.Made) < shownMade {
			sum.Made = append(sum.Made, page.Made...)
		}
		sum.Failed = append(sum.Failed, page.Failed...)
		for _, f := range page.Failed {
			fmt.Fprintf(progress, "%s: %s\n", f.ID, f.Reason)
		}
		if page.Cursor == "" {
			return sum, nil
		}
		r.ID, r.Cursor = page.ID, page.Cursor
		switch {
		case page.Matched == 0: // the rate made it wait
		case r.DryRun:
			fmt.Fprintf(progress, "%d so far\n", sum.Matched)
		default:
			fmt.Fprintf(progress, "%d replayed so far; after an interruption go on with --resume '%s@%s'\n", sum.Replayed, r.ID, r.Cursor)
		}
	}
}
