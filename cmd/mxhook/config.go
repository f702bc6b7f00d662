package main

import (
	"github.com/spf13/cobra"

	"mxhook/configs"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at a configuration",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return usagef("say show or schema: `mxhook config --help`")
		},
	}
	var file string
	show := &cobra.Command{
		Use:   "show -c FILE",
		Short: "Print the configuration in force, defaults included, where each value comes from, secrets cut out",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return cfg.Show(cmd.OutOrStdout())
		},
	}
	show.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := configs.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.AddCommand(show, schema)
	return cmd
}
