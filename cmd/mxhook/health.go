package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	var api apiFlags
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running instance whether it is ready, or with --live whether it runs; exit 1 when not (for container health checks)",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			path := "/readyz"
			if live {
				path = "/healthz"
			}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, c.Base+path, nil)
			if err != nil {
				return err
			}
			resp, err := c.HTTP.Do(req)
			if err != nil {
				return fmt.Errorf("talk to mxhook at %s: %w", c.Base, err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("not ready: %s", body)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s", body)
			return nil
		},
	}
	api.add(cmd)
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process runs: an instance that is recovering its queue is alive")
	return cmd
}
