package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mxhook/configs"
	"mxhook/pipeline"
	"mxhook/rules"
)

func addressCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "address",
		Short: "Make and check signed addresses, like reply+TOKEN@example.com",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return usagef("say make or check: `mxhook address --help`")
		},
	}
	cmd.AddCommand(addressMakeCommand(), addressCheckCommand())
	return cmd
}

func addressMakeCommand() *cobra.Command {
	var file, valid string
	cmd := &cobra.Command{
		Use:   "make -c FILE NAME [PAYLOAD]",
		Short: "Print an address of `signed_addresses` that carries the payload",
		Args:  arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			signed, length, err := signedAddress(cfg, args[0])
			if err != nil {
				return err
			}
			if valid != "" {
				if err := length.UnmarshalText([]byte(valid)); err != nil {
					return usagef("--valid: %w", err)
				}
			}
			var until time.Time
			if length > 0 {
				until = time.Now().Add(time.Duration(length))
			}
			payload := ""
			if len(args) > 1 {
				payload = args[1]
			}
			address, err := signed.Make(payload, until)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), address)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	cmd.Flags().StringVar(&valid, "valid", "", "how long it is valid, like 12h or 30d; 0s: without end (default: `valid` of the configuration)")
	return cmd
}

func addressCheckCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c FILE ADDRESS",
		Short: "Print what an address carries; exit 1 when it would be refused",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, s := range cfg.SignedAddresses() {
				if !s.Owns(args[0]) {
					continue
				}
				payload, err := s.Check(args[0], time.Now())
				switch {
				case errors.Is(err, rules.ErrExpired):
					return fmt.Errorf("%s: the token has expired", args[0])
				case err != nil:
					return fmt.Errorf("%s: the token is missing or not made with a key of %s", args[0], s.Name)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n", payload)
				return nil
			}
			return fmt.Errorf("%s is none of the signed addresses; there are: %s", args[0], strings.Join(signedNames(cfg), ", "))
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return cmd
}

// signedAddress finds a signed address by its name, and how long it is valid.
func signedAddress(cfg *configs.Config, name string) (*rules.SignedAddress, configs.Duration, error) {
	for i, s := range cfg.SignedAddresses() {
		if s.Name == name {
			return s, cfg.Signed[i].Valid, nil
		}
	}
	names := signedNames(cfg)
	if near, ok := pipeline.Nearest(name, names); ok {
		return nil, 0, usagef("there is no signed address %q; did you mean %s?", name, near)
	}
	if len(names) == 0 {
		return nil, 0, usagef("the configuration has no signed_addresses")
	}
	return nil, 0, usagef("there is no signed address %q; there are: %s", name, strings.Join(names, ", "))
}

func signedNames(cfg *configs.Config) []string {
	var names []string
	for _, s := range cfg.Signed {
		names = append(names, s.Name)
	}
	return names
}
