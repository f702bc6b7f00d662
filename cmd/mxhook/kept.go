package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mxhook/console"
	"mxhook/pipeline"
)

// group is a command of which only its parts do something.
func group(use, short string, parts ...*cobra.Command) *cobra.Command {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.Name()
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return usagef("no command `%s %s`: there are %s", use, args[0], strings.Join(names, ", "))
		},
	}
	cmd.AddCommand(parts...)
	return cmd
}

func messagesCommand() *cobra.Command {
	var api apiFlags
	cmd := group("messages", "Look at and act on the messages that a running instance keeps",
		messagesListCommand(&api), messagesShowCommand(&api), replayCommand(&api, "messages"),
		actCommand(&api, "drop ID...", "Remove messages for good that nothing waits with", "dropped", (*console.Client).DropMessage),
		actCommand(&api, "bury ID...", "Make dead letters of messages that cannot be processed", "buried", (*console.Client).BuryMessage))
	api.add(cmd)
	return cmd
}

func deliveriesCommand() *cobra.Command {
	var api apiFlags
	cmd := group("deliveries", "Look at and act on the deliveries of a running instance, delivered, waiting, dead and refused",
		deliveriesListCommand(&api), deliveriesShowCommand(&api), replayCommand(&api, "deliveries"),
		actCommand(&api, "drop ID...", "Remove deliveries that wait, for good; their messages stay kept", "dropped", (*console.Client).DropDelivery),
		actCommand(&api, "bury ID...", "Make dead letters of deliveries that wait", "buried", (*console.Client).BuryDelivery))
	api.add(cmd)
	return cmd
}

func actCommand(api *apiFlags, use, short, done string, act func(*console.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDead(api, args, func(c *console.Client, id string) error {
				if err := act(c, cmd.Context(), id); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", id, done)
				return nil
			})
		},
	}
}

// listFlags are those of every list.
type listFlags struct {
	since, until when
	limit        int
	json         bool
}

func (f *listFlags) add(cmd *cobra.Command) {
	addTimes(cmd, &f.since, &f.until)
	cmd.Flags().IntVar(&f.limit, "limit", 100, "how many at the most")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func addTimes(cmd *cobra.Command, since, until *when) {
	cmd.Flags().Var(since, "since", "only from then on: 2026-11-21T19:30:00Z, or 2h for two hours ago")
	cmd.Flags().Var(until, "until", "only before then")
}

// when is a time in a flag.
type when struct{ time.Time }

// String implements pflag.Value.
func (w *when) String() string {
	if w.IsZero() {
		return ""
	}
	return w.Format(time.RFC3339)
}

// Type implements pflag.Value.
func (w *when) Type() string { return "time" }

// Set implements pflag.Value.
func (w *when) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		w.Time = time.Now().Add(-d)
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			w.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q is neither a time like 2026-11-21T19:30:00Z nor a length like 2h", s)
}

func messagesListCommand(api *apiFlags) *cobra.Command {
	var f pipeline.MessageFilter
	var l listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List kept messages, newest first", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			f.Since, f.Until = l.since.Time, l.until.Time
			found, err := c.Messages(cmd.Context(), f, l.limit)
			switch {
			case err != nil:
				return err
			case l.json:
				return writeJSON(cmd.OutOrStdout(), map[string]any{"messages": found})
			case len(found) == 0:
				fmt.Fprintln(cmd.ErrOrStderr(), "no messages")
				return nil
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tRECEIVED\tSIZE\tCLIENT\tFROM\tRECIPIENTS")
			for _, m := range found {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", m.ID, local(m.ReceivedAt), size(m.Size), m.Client, oneLine(orAngle(m.MailFrom), 40),
					oneLine(strings.Join(m.Recipients, ","), 60))
			}
			return t.Flush()
		},
	}
	l.add(cmd)
	addMessageFilter(cmd, &f)
	return cmd
}

func addMessageFilter(cmd *cobra.Command, f *pipeline.MessageFilter) {
	cmd.Flags().StringVar(&f.Recipient, "recipient", "", "only those for this address or @domain")
	cmd.Flags().StringVar(&f.From, "from", "", "only those from this reverse-path or @domain; <> is the null reverse-path")
}

func addDeliveryFilter(cmd *cobra.Command, f *pipeline.DeliveryFilter) {
	cmd.Flags().StringVar(&f.State, "state", "", "only those that are delivered, waiting, dead or refused")
	cmd.Flags().StringVar(&f.Sink, "sink", "", "only those of this sink; _ for recipients that no rule matched")
	cmd.Flags().StringVar(&f.Rule, "rule", "", "only those of this rule")
	cmd.Flags().StringVar(&f.Recipient, "recipient", "", "only those for this address or @domain")
	cmd.Flags().StringVar(&f.Message, "message", "", "only those of this message id")
}

func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func messagesShowCommand(api *apiFlags) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one message with its deliveries, or the mail itself", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			if raw {
				return c.MessageMail(cmd.Context(), args[0], cmd.OutOrStdout())
			}
			m, err := c.Message(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			ds, err := c.Deliveries(cmd.Context(), pipeline.DeliveryFilter{Message: m.ID}, 0)
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), map[string]any{"message": m, "deliveries": ds})
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the mail as it was received")
	cmd.Flags().Bool("json", true, "print JSON (the only form)")
	return cmd
}

func deliveriesListCommand(api *apiFlags) *cobra.Command {
	var f pipeline.DeliveryFilter
	var l listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List deliveries, newest first", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			f.Since, f.Until = l.since.Time, l.until.Time
			found, err := c.Deliveries(cmd.Context(), f, l.limit)
			switch {
			case err != nil:
				return err
			case l.json:
				return writeJSON(cmd.OutOrStdout(), map[string]any{"deliveries": found})
			case len(found) == 0:
				fmt.Fprintln(cmd.ErrOrStderr(), "no deliveries")
				return nil
			}
			return tableOfDeliveries(cmd.OutOrStdout(), found)
		},
	}
	l.add(cmd)
	addDeliveryFilter(cmd, &f)
	return cmd
}

func tableOfDeliveries(w io.Writer, found []console.Delivery) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tSINCE\tATTEMPT\tNEXT\tRECIPIENTS\tWHAT")
	for _, d := range found {
		next, what := "", d.Status
		if d.Due != nil {
			next = local(*d.Due)
		}
		if what == "" {
			what = d.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", d.ID, d.State, local(d.At), d.Attempt, next,
			oneLine(strings.Join(d.Recipients, ","), 60), oneLine(what, 100))
	}
	return t.Flush()
}

func deliveriesShowCommand(api *apiFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show one delivery with its attempts", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			d, err := c.Delivery(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), d)
		},
	}
	cmd.Flags().Bool("json", true, "print JSON (the only form)")
	return cmd
}
