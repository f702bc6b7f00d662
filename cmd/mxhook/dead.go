package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mxhook/configs"
	"mxhook/console"
)

// apiFlags are how a command finds the running instance.
type apiFlags struct {
	api, token, config string
}

func (f *apiFlags) add(cmd *cobra.Command) {
	p := cmd.PersistentFlags()
	p.StringVar(&f.api, "api", "", "address of the running instance's ops listener (default: ops.address of -c, else 127.0.0.1:8025)")
	p.StringVar(&f.token, "token", "", "the API's token (default: MXHOOK_OPS_TOKEN, else ops.token of -c)")
	p.StringVarP(&f.config, "config", "c", "", "configuration file of the running instance")
}

// client returns a client of the running instance that the flags, the environment or the configuration name.
func (f *apiFlags) client() (*console.Client, error) {
	addr, token := f.api, f.token
	if token == "" {
		token = os.Getenv("MXHOOK_OPS_TOKEN")
	}
	if f.config != "" && (addr == "" || token == "") {
		cfg, _, err := configs.Load(f.config, os.Environ())
		if err != nil {
			return nil, err
		}
		if addr == "" {
			addr = cfg.Ops.Address
		}
		if token == "" {
			token = cfg.Ops.Token.Reveal()
		}
	}
	if addr == "" {
		addr = configs.Default().Ops.Address
	}
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	return &console.Client{Base: addr, Token: token, HTTP: &http.Client{Timeout: time.Minute}}, nil
}

func deadCommand() *cobra.Command {
	var api apiFlags
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at and act on the dead letters of a running instance",
		Args:  arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			return usagef("no command `dead %s`: there are list, show, replay and drop", args[0])
		},
	}
	api.add(cmd)
	cmd.AddCommand(deadListCommand(&api), deadShowCommand(&api), deadReplayCommand(&api), deadDropCommand(&api))
	return cmd
}

func deadListCommand(api *apiFlags) *cobra.Command {
	var f console.DeadFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			dead, err := c.DeadLetters(cmd.Context(), f)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"dead": dead})
			}
			if len(dead) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no dead letters")
				return nil
			}
			return tableOfDead(cmd.OutOrStdout(), dead)
		},
	}
	cmd.Flags().StringVar(&f.Sink, "sink", "", "only those of this sink; _ for recipients that no rule matched")
	cmd.Flags().StringVar(&f.Message, "message", "", "only those of this message id")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "how many at the most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func tableOfDead(w io.Writer, dead []console.DeadLetter) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tGIVEN UP\tATTEMPTS\tFROM\tRECIPIENTS\tREASON")
	for _, l := range dead {
		from := l.MailFrom
		if from == "" {
			from = "<>"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", l.ID, l.At.Local().Format("2006-01-02 15:04:05"), len(l.Attempts),
			oneLine(from, 40), oneLine(strings.Join(l.Recipients, ","), 60), oneLine(l.Reason, 100))
	}
	return t.Flush()
}

// oneLine makes foreign text safe for a terminal and short: control characters become spaces.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

func deadShowCommand(api *apiFlags) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter with its attempts, or its mail",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			if raw {
				return c.Mail(cmd.Context(), args[0], cmd.OutOrStdout())
			}
			l, err := c.DeadLetter(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), l)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the mail as it was received")
	cmd.Flags().Bool("json", true, "print JSON (the only form)")
	return cmd
}

func deadReplayCommand(api *apiFlags) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "replay ID...",
		Short: "Deliver dead letters again, to their own sink or another, under new delivery ids",
		Args:  arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDead(api, args, func(c *console.Client, id string) error {
				newID, err := c.Replay(cmd.Context(), id, to)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s replayed as %s\n", id, newID)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "name of the sink to deliver to (default: the one it was meant for)")
	return cmd
}

func deadDropCommand(api *apiFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "drop ID...",
		Short: "Remove dead letters and their mails for good",
		Args:  arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachDead(api, args, func(c *console.Client, id string) error {
				if err := c.Drop(cmd.Context(), id); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s dropped\n", id)
				return nil
			})
		},
	}
}

func eachDead(api *apiFlags, ids []string, act func(*console.Client, string) error) error {
	c, err := api.client()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := act(c, id); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
