// Command mxhook turns mail into webhooks: it receives mail by SMTP, keeps it safe, and hands each message as signed
// JSON to the endpoints that the rules name.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker (see the Makefile).
var (
	version = "dev"
	commit  = ""
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes of every command.
const (
	exitFine    = 0
	exitProblem = 1
	exitUsage   = 2
)

// run runs one command and returns its exit code. Data goes to standard output, everything else to standard error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return exitFine
	case errors.As(err, new(*usageError)):
		fmt.Fprintf(stderr, "mxhook: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "mxhook: %v\n", err)
		return exitProblem
	}
}

// usageError is a mistake in how the command was called.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "mxhook",
		Short:         "Mail in by SMTP, signed webhooks out, nothing lost",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("no command %q: `mxhook --help` lists them", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see `%s --help`", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		demoCommand(), serveCommand(), checkCommand(), explainCommand(), rulesCommand(), addressCommand(), configCommand(), parseCommand(),
		sendCommand(), listenCommand(), messagesCommand(), deliveriesCommand(), deadCommand(), sinksCommand(), queueCommand(), healthCommand(), doctorCommand(), versionCommand(),
	)
	return root
}

// arguments bounds the number of arguments and makes a wrong number a mistake of usage; most < 0 means no bound.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return usagef("wrong number of arguments: usage: %s", cmd.UseLine())
		}
		return nil
	}
}
