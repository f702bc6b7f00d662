package main

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/doctor"
	"mxhook/configs"
	"mxhook/pipeline/msgauth"
)

func doctorCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "doctor -c FILE [DOMAIN...]",
		Short: "Look at an installation as senders do: DNS, port 25, TLS, policies, endpoints; exit 1 when something is wrong",
		RunE: func(cmd *cobra.Command, domains []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			o, err := doctorOptions(cfg)
			if err != nil {
				return err
			}
			o.Domains = domains
			report := doctor.Examine(cmd.Context(), o)
			if err := report.Write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !report.Healthy() {
				return errors.New("something is wrong: see the lines that begin with WRONG")
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return cmd
}

// doctorOptions looks through the configured DNS and real connections.
func doctorOptions(cfg *configs.Config) (doctor.Options, error) {
	resolver, err := msgauth.NewResolver(msgauth.ResolverConfig{
		Servers: cfg.DNS.Servers, Timeout: time.Duration(cfg.DNS.Timeout), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return doctor.Options{}, err
	}
	return doctor.Options{Config: cfg, Resolver: resolver, Dial: (&net.Dialer{}).DialContext}, nil
}
