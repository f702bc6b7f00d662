package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"mxhook/sinks/webhook"
)

func listenCommand() *cobra.Command {
	var (
		address string
		secrets []string
		status  int
		asJSON  bool
		count   int
	)
	cmd := &cobra.Command{
		Use:   "listen [flags]",
		Short: "Receive webhooks, verify their signatures and show them, to try things out",
		Long: `Receive webhooks, verify their signatures and show them, to try things out.

The secret is that of the sink ("whsec_..."); it is taken from --secret or from MXHOOK_WEBHOOK_SECRET.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s := os.Getenv("MXHOOK_WEBHOOK_SECRET"); s != "" && len(secrets) == 0 {
				secrets = []string{s}
			}
			if status < 100 || status > 599 {
				return usagef("--status %d is no HTTP status", status)
			}
			r := &receiver{status: status}
			if len(secrets) > 0 {
				v, err := webhook.NewVerifier(secrets, nil)
				if err != nil {
					return usagef("--secret: %w", err)
				}
				r.verifier = v
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			out := newScreen(cmd.OutOrStdout())
			var mu sync.Mutex
			n := 0
			r.got = func(w received) {
				mu.Lock()
				defer mu.Unlock()
				if asJSON {
					fmt.Fprintf(out, "%s\n", w.Body)
				} else {
					out.webhook("Webhook "+w.Payload.Data.Delivery.ID, w)
				}
				if n++; n == count {
					stop()
				}
			}
			return serveHTTP(ctx, address, r, func(addr net.Addr) {
				fmt.Fprintf(cmd.ErrOrStderr(), "listening on http://%s/  (Ctrl-C ends)\n", addr)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "127.0.0.1:8080", "address to listen on")
	f.StringArrayVar(&secrets, "secret", nil, "secret of the sink; may be given several times")
	f.IntVar(&status, "status", http.StatusOK, "HTTP status to answer with")
	f.BoolVar(&asJSON, "json", false, "print the bodies, one a line, and nothing else")
	f.IntVar(&count, "count", 0, "end after this many webhooks; 0: go on")
	return cmd
}

// serveHTTP serves until ctx ends, and then lets requests under way finish.
func serveHTTP(ctx context.Context, address string, h http.Handler, ready func(net.Addr)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	ready(l.Addr())
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = srv.Shutdown(grace)
	if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
		return serr
	}
	return err
}
