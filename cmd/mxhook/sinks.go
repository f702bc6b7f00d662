package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mxhook/console"
)

func sinksCommand() *cobra.Command {
	var api apiFlags
	cmd := &cobra.Command{
		Use:   "sinks",
		Short: "Look at the sinks of a running instance, pause and resume them",
		Args:  arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return usagef("no command `sinks %s`: there are list, pause and resume", args[0])
		},
	}
	api.add(cmd)
	cmd.AddCommand(sinksListCommand(&api), sinksPauseCommand(&api), sinksResumeCommand(&api))
	return cmd
}

func sinksListCommand(api *apiFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sinks, and those that deliveries wait for, with their state",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			sinks, err := c.Sinks(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"sinks": sinks})
			}
			return tableOfSinks(cmd.OutOrStdout(), sinks)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func tableOfSinks(w io.Writer, sinks []console.Sink) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tSINCE\tDUE\tLATER\tCONCURRENCY\tRATE\tREASON")
	for _, s := range sinks {
		since, reason, rate := "", "", s.Rate
		if at := s.Since(); !at.IsZero() {
			since = at.Local().Format("2006-01-02 15:04:05")
		}
		switch {
		case s.Pause != nil:
			reason = s.Pause.Reason
		case s.Breaker != nil:
			reason = fmt.Sprintf("next probe %s: %s", s.Breaker.Probe.Local().Format(time.TimeOnly), s.Breaker.Reason)
		}
		if rate == "" {
			rate = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", s.Name, s.State, since, s.Due, s.Scheduled, s.Concurrency, rate, oneLine(reason, 100))
	}
	return t.Flush()
}

func sinksPauseCommand(api *apiFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Stop deliveries to a sink in all processes on the queue; they wait until it is resumed",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			s, err := c.PauseSink(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is paused; %d deliveries wait\n", s.Name, s.Due+s.Scheduled)
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at it")
	return cmd
}

func sinksResumeCommand(api *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "Let deliveries to a paused sink go on",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			s, err := c.ResumeSink(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is resumed; its state is %s; %d deliveries wait\n", s.Name, s.State, s.Due+s.Scheduled)
			return nil
		},
	}
}
