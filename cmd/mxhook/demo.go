package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"mxhook/cmd/mxhook/app"
	"mxhook/configs"
	"mxhook/sinks/webhook"
)

//go:embed samples/*.eml
var sampleFiles embed.FS

//go:embed demo.yaml
var demoYAML string

// demoSecret signs the demo's webhooks; the demo listens on loopback only.
const demoSecret = "whsec_bXhob29rIGRlbW8sIGV2ZXJ5Ym9keSBrbm93cyB0aGlz"

// demoPatience bounds the wait for each sample's webhook.
const demoPatience = 30 * time.Second

func demoCommand() *cobra.Command {
	var once, verbose bool
	cmd := &cobra.Command{
		Use:   "demo [--once]",
		Short: "Start everything on free loopback ports, send sample mails and show the webhooks that arrive",
		Long: `Start everything on free loopback ports in a temporary folder with a built-in endpoint, send sample mails by SMTP, and show
the signed webhooks that arrive. It stays up for mail of your own until Ctrl-C; with --once it exits after the samples.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelError
			if verbose {
				level = slog.LevelInfo
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return runDemo(cmd.Context(), newScreen(cmd.OutOrStdout()), log, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit when the samples have arrived")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the log")
	return cmd
}

func runDemo(ctx context.Context, out *screen, log *slog.Logger, once bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "mxhook-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)

	hooks := make(chan received, 64)
	endpoint, endpointEnded, err := startDemoEndpoint(ctx, hooks)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-endpointEnded }()

	samples, err := loadSamples()
	if err != nil {
		return err
	}
	cfg, err := demoConfig(dir, endpoint)
	if err != nil {
		return err
	}
	a, err := app.New(app.Options{Config: cfg, Version: version, Log: log, Resolver: samples.zones})
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if serr := a.Stop(stop); err == nil {
			err = serr
		}
	}()
	if err := a.Start(ctx); err != nil {
		return err
	}
	d := demo{out: out, smtp: a.SMTPAddr("demo").String(), ops: a.OpsAddr().String(), endpoint: endpoint, hooks: hooks}
	d.introduce()
	if err := d.play(ctx, samples); err != nil {
		return err
	}
	if once {
		return nil
	}
	d.invite()
	d.watch(ctx)
	fmt.Fprintln(out, "\nStopped. Nothing is left behind.")
	return nil
}

// startDemoEndpoint starts the customer's side of the demo; the channel it returns closes when it has ended.
func startDemoEndpoint(ctx context.Context, hooks chan<- received) (url string, ended <-chan struct{}, err error) {
	verifier, err := webhook.NewVerifier([]string{demoSecret}, nil)
	if err != nil {
		return "", nil, err
	}
	r := &receiver{verifier: verifier, status: http.StatusOK, got: func(w received) {
		select {
		case hooks <- w:
		case <-ctx.Done():
		}
	}}
	bound, done := make(chan string, 1), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(done)
		failed <- serveHTTP(ctx, "127.0.0.1:0", r, func(addr net.Addr) { bound <- "http://" + addr.String() })
	}()
	select {
	case url := <-bound:
		return url, done, nil
	case err := <-failed:
		return "", nil, err
	}
}

// demoConfig writes the configuration into dir and loads it, as `serve` would.
func demoConfig(dir, endpoint string) (*configs.Config, error) {
	var b bytes.Buffer
	err := template.Must(template.New("demo").Parse(demoYAML)).Execute(&b, map[string]string{
		"Dir": dir, "SMTP": "127.0.0.1:0", "Ops": "127.0.0.1:0", "Endpoint": endpoint, "Secret": demoSecret,
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "mxhook.yaml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	cfg, _, err := configs.Load(file, nil)
	return cfg, err
}

// demo is a running demo.
type demo struct {
	out                 *screen
	smtp, ops, endpoint string
	hooks               <-chan received
}

func (d *demo) introduce() {
	fmt.Fprintf(d.out, "%s\n\n", d.out.bold("mxhook demo"))
	d.out.line("SMTP", "%s   takes mail for anything@example.com", d.smtp)
	d.out.line("endpoint", "%s   built in; verifies every signature", d.endpoint)
	d.out.line("ops", "http://%s/metrics   also /healthz and /readyz", d.ops)
}

// play sends the samples one after the other and shows each webhook as it arrives.
func (d *demo) play(ctx context.Context, s *samples) error {
	verified := 0
	for i, sample := range s.mails {
		o := sendOptions{server: d.smtp, from: sample.from, helo: sample.helo, to: []string{sample.to}}
		reply, err := o.send(ctx, sample.mail)
		if err != nil {
			return fmt.Errorf("send sample %d: %w", i+1, err)
		}
		select {
		case w := <-d.hooks:
			d.out.webhook(fmt.Sprintf("%d. %s", i+1, sample.title), w)
			d.out.line("reply", "%s", d.out.dim(reply))
			if w.Genuine == nil {
				verified++
			}
		case <-time.After(demoPatience):
			return fmt.Errorf("the webhook of sample %d did not arrive within %v: run `mxhook demo -v` to see the log", i+1, demoPatience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Fprintf(d.out, "\n%s\n", d.out.green(fmt.Sprintf("%d mails sent, %d signed webhooks arrived and verified.", len(s.mails), verified)))
	if verified != len(s.mails) {
		return fmt.Errorf("%d webhooks had a signature that does not fit", len(s.mails)-verified)
	}
	return nil
}

func (d *demo) invite() {
	_, port, _ := net.SplitHostPort(d.smtp)
	fmt.Fprintf(d.out, "\n%s\n", d.out.bold("Now send one yourself; it will show up here:"))
	fmt.Fprintf(d.out, "  go run ./cmd/mxhook send --server %s --to you@example.com --subject 'Hello'\n", d.smtp)
	fmt.Fprintf(d.out, "  swaks --server 127.0.0.1 --port %s --to support@example.com --header 'Subject: Hello'\n", port)
	fmt.Fprintln(d.out, "\nCtrl-C ends the demo.")
}

// watch shows what arrives until ctx ends.
func (d *demo) watch(ctx context.Context) {
	for {
		select {
		case w := <-d.hooks:
			d.out.webhook("A mail of yours", w)
		case <-ctx.Done():
			return
		}
	}
}
