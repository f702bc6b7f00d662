package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func healthCommand() *cobra.Command {
	var api apiFlags
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running instance whether it is ready; exit 1 when it is not (for container health checks)",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := api.client()
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, c.Base+"/readyz", nil)
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
	return cmd
}
