package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
)

// sendOptions are the flags of `mxhook send`.
type sendOptions struct {
	server, from, helo, subject, text string
	to                                []string
	startTLS, insecure                bool
}

func sendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send --to ADDRESS [flags] [FILE.eml | -]",
		Short: "Send one mail by SMTP, to try things out",
		Long: `Send one mail by SMTP, to try things out.

With a file (or - for standard input) the mail is sent as it is, with LF turned into CRLF.
Without one a small mail is made from --from, --to, --subject and --text.`,
		Example: "  mxhook send --server 127.0.0.1:2525 --to support@example.com --subject 'It works'",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.to) == 0 {
				return usagef("--to is missing: name at least one recipient")
			}
			mail, err := o.mail(args)
			if err != nil {
				return err
			}
			reply, err := o.send(cmd.Context(), mail)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), reply)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "127.0.0.1:2525", "host:port of the SMTP server")
	f.StringVar(&o.from, "from", "sender@example.org", "reverse-path; '<>' is the null reverse-path")
	f.StringArrayVar(&o.to, "to", nil, "recipient; may be given several times")
	f.StringVar(&o.helo, "helo", "localhost", "name to give with EHLO")
	f.StringVar(&o.subject, "subject", "A mail from mxhook send", "subject of the mail that is made")
	f.StringVar(&o.text, "text", "Hello from mxhook send.", "text of the mail that is made")
	f.BoolVar(&o.startTLS, "starttls", false, "protect the session with STARTTLS")
	f.BoolVar(&o.insecure, "insecure", false, "with --starttls: accept any certificate")
	return cmd
}

// mail returns the octets to send, lines ending in CRLF.
func (o *sendOptions) mail(args []string) ([]byte, error) {
	if len(args) == 0 {
		return o.compose(), nil
	}
	raw, err := readMail(args[0])
	if err != nil {
		return nil, err
	}
	return withCRLF(raw), nil
}

// readMail reads a mail from a file, or from standard input when the name is "-".
func readMail(name string) ([]byte, error) {
	if name == "-" {
		raw, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read the mail from standard input: %w", err)
		}
		return raw, nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the mail: %w", err)
	}
	return raw, nil
}

// withCRLF ends every line in CRLF, as SMTP wants it; a file on disk mostly has LF.
func withCRLF(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

func (o *sendOptions) compose() []byte {
	clean := strings.NewReplacer("\r", " ", "\n", " ").Replace
	from := o.from
	if from == "<>" {
		from = "mailer-daemon@" + o.helo
	}
	return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s\r\n",
		clean(from), clean(strings.Join(o.to, ", ")), clean(o.subject), time.Now().Format(time.RFC1123Z),
		ulid.Make(), o.helo, withCRLF([]byte(o.text)))
}

// send makes one transaction and returns the server's final reply.
func (o *sendOptions) send(ctx context.Context, mail []byte) (string, error) {
	c, err := o.dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	from := o.from
	if from == "<>" {
		from = ""
	}
	if err := c.Mail(from, &smtp.MailOptions{Size: int64(len(mail))}); err != nil {
		return "", smtpSaid("MAIL FROM", err)
	}
	for _, to := range o.to {
		if err := c.Rcpt(to, nil); err != nil {
			return "", smtpSaid("RCPT TO:<"+to+">", err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return "", smtpSaid("DATA", err)
	}
	if _, err := w.Write(mail); err != nil {
		return "", fmt.Errorf("send the mail: %w", err)
	}
	resp, err := w.CloseWithResponse()
	if err != nil {
		return "", smtpSaid("the mail", err)
	}
	_ = c.Quit() // the mail is accepted; how the session ends changes nothing
	return "250 " + resp.StatusText, nil
}

func (o *sendOptions) dial(ctx context.Context) (*smtp.Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", o.server)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w (is mxhook running there?)", o.server, err)
	}
	var c *smtp.Client
	if o.startTLS {
		host, _, _ := net.SplitHostPort(o.server)
		c, err = smtp.NewClientStartTLS(conn, &tls.Config{ServerName: host, InsecureSkipVerify: o.insecure})
		if err != nil {
			return nil, fmt.Errorf("STARTTLS with %s: %w", o.server, err)
		}
	} else {
		c = smtp.NewClient(conn)
	}
	if err := c.Hello(o.helo); err != nil {
		c.Close()
		return nil, smtpSaid("EHLO", err)
	}
	return c, nil
}

// smtpSaid shows the server's reply as it came.
func smtpSaid(what string, err error) error {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return fmt.Errorf("the server answered %s with %d %d.%d.%d %s", what, e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
	}
	return fmt.Errorf("%s: %w", what, err)
}
