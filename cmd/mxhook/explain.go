package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/rules"
)

func explainCommand() *cobra.Command {
	var file string
	var asJSON bool
	var mail app.TrialMail
	cmd := &cobra.Command{
		Use:   "explain -c FILE --rcpt ADDRESS [flags] [MAIL.eml | -]",
		Short: "Show which rules match a mail and why, and the deliveries that result; nothing is delivered",
		Args:  arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(mail.Recipients) == 0 {
				return usagef("--rcpt is missing: name at least one recipient")
			}
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			name := "-"
			if len(args) > 0 {
				name = args[0]
			}
			raw, err := readMail(name)
			if err != nil {
				return err
			}
			mail.Octets = withCRLF(raw)
			e, err := explain(cmd.Context(), cfg, mail)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), e)
			}
			return e.WriteText(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration file")
	f.StringArrayVar(&mail.Recipients, "rcpt", nil, "recipient; may be given several times")
	f.StringVar(&mail.From, "from", "", "reverse-path (default: the null reverse-path)")
	f.StringVar(&mail.IP, "ip", "", "address of the client, for SPF")
	f.StringVar(&mail.Helo, "helo", "", "name that the client gave with EHLO")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func explain(ctx context.Context, cfg *configs.Config, mail app.TrialMail) (rules.Explanation, error) {
	trial, err := app.NewTrial(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return rules.Explanation{}, err
	}
	return trial.Explain(ctx, mail)
}

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Validate a configuration, every mistake at once, and run its tests",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := runConfigTests(cmd.Context(), cfg, cmd.ErrOrStderr()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: fine: %d domains, %d rules, %d sinks, %d tests passed\n",
				file, len(cfg.Domains), len(cfg.Rules), len(cfg.Sinks), len(cfg.Tests))
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return cmd
}

// runConfigTests runs the `tests:` of a configuration and shows, for each that fails, why the mail goes elsewhere.
func runConfigTests(ctx context.Context, cfg *configs.Config, stderr io.Writer) error {
	failed, err := app.RunTests(ctx, cfg)
	for _, f := range failed {
		fmt.Fprintln(stderr, f)
		if len(f.Explanation.Recipients) > 0 {
			_ = f.Explanation.WriteText(stderr) // standard error is all there is to tell it to
		}
	}
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%d of %d tests failed", len(failed), len(cfg.Tests))
	}
	return err
}
