package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/console"
)

func queueCommand() *cobra.Command {
	return group("queue", "Look at the queue, or move it to another place", queueStatusCommand(), queueMigrateCommand())
}

func queueMigrateCommand() *cobra.Command {
	var from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate -c FILE --to FILE",
		Short: "Copy a queue to another place: into a cluster, or into an encrypted store",
		Long: `Copy a queue to another place: into a cluster, or into an encrypted store.

Both configurations say where their queue is. Stop mxhook first, and start it with the new configuration when this is
done: senders keep their mail meanwhile. Messages, deliveries that wait, dead letters and the list of what was delivered
keep their ids; counts and hashes are verified. The old queue stays as it is. After an interruption, run it again.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return usagef("name both configurations: -c for the queue that there is, --to for the new one")
			}
			a, _, err := configs.Load(from, os.Environ())
			if err != nil {
				return err
			}
			b, _, err := configs.Load(to, os.Environ())
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			moved, err := app.Migrate(cmd.Context(), a, b, log, app.MigrationProgress(cmd.ErrOrStderr()))
			if err != nil {
				return fmt.Errorf("%w: what is copied stays; run it again, or go on with the old configuration", err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), moved)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "verified: %s\nStart mxhook with the new configuration; remove the old queue when that works.\n", moved)
			return nil
		},
	}
	cmd.Flags().StringVarP(&from, "config", "c", "", "configuration file with the queue that there is")
	cmd.Flags().StringVar(&to, "to", "", "configuration file with the new queue")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func queueStatusCommand() *cobra.Command {
	var api apiFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what the queue of a running instance holds, how old it is, and what room is left", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			st, err := c.QueueStatus(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), st)
			}
			return showQueue(cmd.OutOrStdout(), st)
		},
	}
	api.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showQueue(w io.Writer, st console.QueueStatus) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	where := "embedded"
	if st.External {
		where = fmt.Sprintf("external, %d replicas", st.Replicas)
	} else if st.Encrypted {
		where += ", encrypted"
	}
	fmt.Fprintf(t, "queue\t%s (NATS %s)\n", where, st.Server)
	fmt.Fprintf(t, "durability\t%s\n", st.Durability)
	fmt.Fprintf(t, "messages\t%d not processed%s, %d kept\n", st.Messages, age(st.OldestMessage), st.Kept)
	fmt.Fprintf(t, "dead letters\t%d\n", st.DeadLetters)
	free := "free: unknown, the NATS account has no storage limit"
	if st.StorageFree >= 0 {
		free = fmt.Sprintf("%s free, of which mail may not use %s", size(st.StorageFree), size(st.StorageReserve))
	}
	fmt.Fprintf(t, "storage\t%s used, %s\n", size(st.StorageUsed), free)
	fmt.Fprintf(t, "waiting\tdeliveries by sink%s\n", age(st.OldestDelivery))
	for _, name := range slices.Sorted(maps.Keys(st.Sinks)) {
		b, note := st.Sinks[name], ""
		if !b.Configured {
			note = "  (not configured: mxhook deliveries replay --sink NAME --to OTHER moves them)"
		}
		fmt.Fprintf(t, "  %s\t%d due, %d for later%s\n", oneLine(name, 40), b.Due, b.Scheduled, note)
	}
	fmt.Fprintln(t, "\nSTREAM\tMESSAGES\tSIZE\tOLDEST\tREPLICAS BEHIND")
	for _, s := range st.Streams {
		oldest := "-"
		if s.First != nil {
			oldest = local(*s.First)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\n", s.Name, s.Messages, size(int64(s.Bytes)), oldest, s.Lagging)
	}
	return t.Flush()
}

func age(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return fmt.Sprintf(", the oldest %v old", time.Duration(seconds*float64(time.Second)).Round(time.Second))
}
