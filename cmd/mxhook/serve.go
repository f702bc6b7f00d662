package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
)

func serveCommand() *cobra.Command {
	var file string
	var roles []string
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Run: receive mail, route it, deliver it",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			listeners, err := app.InheritedListeners()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), app.Options{
				Listeners: listeners,
				Config:    cfg, Version: version, Log: newLogger(cfg, cmd.ErrOrStderr()), Roles: roles, Watch: watchInterval,
				Load: func() (*configs.Config, []*configs.Mistake, error) { return configs.Load(file, os.Environ()) },
			})
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "what this instance does: ingest, process (default: both)")
	return cmd
}

// watchInterval is how often the files of the configuration are looked at.
const watchInterval = 2 * time.Second

// serve runs until ctx ends, then drains within limits.shutdown. A SIGHUP makes it read the configuration again and look
// at the certificate files now.
func serve(ctx context.Context, o app.Options) (err error) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	a, err := app.New(o)
	if err != nil {
		return err
	}
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Config.ShutdownTimeout())
		defer cancel()
		err = errors.Join(err, a.Stop(grace))
	}()
	if err := a.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		return err
	}
	if err := app.Notify("READY=1"); err != nil {
		o.Log.Warn("systemd does not hear that mxhook is ready", "error", err)
	}
	dropStartPages()
	for {
		select {
		case <-ctx.Done():
			_ = app.Notify("STOPPING=1") // it notices by itself
			return nil
		case <-hangups:
			a.RefreshCertificates()
			_, _ = a.Reload(ctx) // it has logged what is wrong; what was in force stays
		}
	}
}

// loadConfig loads a configuration and shows its warnings.
func loadConfig(file string, stderr io.Writer) (*configs.Config, error) {
	if file == "" {
		return nil, usagef("-c FILE is missing: name the configuration file; configs/minimal.yaml is one to start from")
	}
	cfg, warnings, err := configs.Load(file, os.Environ())
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	return cfg, nil
}

func newLogger(cfg *configs.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo // Load has refused anything else
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
