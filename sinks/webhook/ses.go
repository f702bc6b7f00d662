package webhook

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mxhook/pipeline"
)

// sesShaped is a notification of SNS with what SES says of an incoming mail in it. Receivers that insist on a certificate
// from Amazon cannot be satisfied by anybody else.
type sesShaped struct {
	compat
	key *rsa.PrivateKey // nil: not signed
}

const defaultTopic = "arn:aws:sns:us-east-1:000000000000:mxhook"

func newSES(c compat) (sesShaped, error) {
	g := sesShaped{compat: c}
	if g.TopicARN == "" {
		g.TopicARN = defaultTopic
	}
	if g.CertificateURL != "" {
		if u, err := url.Parse(g.CertificateURL); err != nil || u.Scheme != "https" {
			return g, errors.New("compat: certificate_url must start with https://")
		}
	}
	if c.Key == "" {
		return g, nil
	}
	key, err := parsePrivateKeyPEM(c.Key)
	var ok bool
	if g.key, ok = key.(*rsa.PrivateKey); err == nil && (!ok || g.key.N.BitLen() < 2048) {
		err = errors.New("is no RSA key of 2048 bits or more")
	}
	if err != nil {
		return g, fmt.Errorf("compat: key %w: make one with: openssl genrsa 2048", err)
	}
	if g.CertificateURL == "" {
		return g, errors.New("compat: certificate_url is missing: say where the receiver finds the certificate of the key")
	}
	return g, nil
}

type snsNotification struct {
	Type             string
	MessageID        string `json:"MessageId"`
	TopicArn         string
	Subject          string
	Message          *octets
	Timestamp        string
	SignatureVersion string
	Signature        string
	SigningCertURL   string
	UnsubscribeURL   string
}

type sesMessage struct {
	NotificationType string     `json:"notificationType"`
	Mail             sesMail    `json:"mail"`
	Receipt          sesReceipt `json:"receipt"`
	Content          *octets    `json:"content"`
}

type sesMail struct {
	Timestamp        string           `json:"timestamp"`
	Source           string           `json:"source"`
	MessageID        string           `json:"messageId"`
	Destination      []string         `json:"destination"`
	HeadersTruncated bool             `json:"headersTruncated"`
	Headers          []sesHeader      `json:"headers"`
	CommonHeaders    sesCommonHeaders `json:"commonHeaders"`
}

type sesHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type sesCommonHeaders struct {
	ReturnPath string   `json:"returnPath"`
	From       []string `json:"from"`
	Date       string   `json:"date"`
	To         []string `json:"to"`
	Cc         []string `json:"cc,omitempty"`
	MessageID  string   `json:"messageId"`
	Subject    string   `json:"subject"`
}

type sesReceipt struct {
	Timestamp            string     `json:"timestamp"`
	ProcessingTimeMillis int64      `json:"processingTimeMillis"`
	Recipients           []string   `json:"recipients"`
	SpamVerdict          sesVerdict `json:"spamVerdict"`
	VirusVerdict         sesVerdict `json:"virusVerdict"`
	SPFVerdict           sesVerdict `json:"spfVerdict"`
	DKIMVerdict          sesVerdict `json:"dkimVerdict"`
	DMARCVerdict         sesVerdict `json:"dmarcVerdict"`
	DMARCPolicy          string     `json:"dmarcPolicy,omitempty"`
	Action               sesAction  `json:"action"`
}

type sesVerdict struct {
	Status string `json:"status"`
}

type sesAction struct {
	Type     string `json:"type"`
	TopicArn string `json:"topicArn"`
	Encoding string `json:"encoding"`
}

// snsSubject is the subject of all notifications of SES.
const snsSubject = "Amazon SES Email Receipt Notification"

// compose implements format.
func (g sesShaped) compose(_ context.Context, d *pipeline.Delivery, at time.Time) (*content, error) {
	in := g.read(d)
	inner, err := g.message(in)
	if err != nil {
		return nil, err
	}
	n := snsNotification{
		Type: "Notification", MessageID: uuid(d.ID), TopicArn: g.TopicARN, Subject: snsSubject, Timestamp: timestamp(at),
		SignatureVersion: "2", SigningCertURL: g.CertificateURL,
	}
	if n.Signature, err = g.sign(n, inner); err != nil {
		return nil, err
	}
	j := &document{}
	n.Message = j.text(inner.open)
	header := http.Header{
		"Content-Type": {"text/plain; charset=UTF-8"}, "X-Amz-Sns-Message-Type": {n.Type}, "X-Amz-Sns-Message-Id": {n.MessageID},
		"X-Amz-Sns-Topic-Arn": {n.TopicArn},
	}
	in.note(header)
	return j.content(n, header)
}

// sign is RSA with SHA-256.
func (g sesShaped) sign(n snsNotification, message *body) (string, error) {
	if g.key == nil {
		return "", nil
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, snsSigned(n, message.open())); err != nil {
		return "", fmt.Errorf("sign the payload: %w", err)
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, g.key, crypto.SHA256, digest.Sum(nil))
	if err != nil {
		return "", fmt.Errorf("sign the payload: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// snsSigned is what the signature of a notification covers.
func snsSigned(n snsNotification, message io.Reader) io.Reader {
	return io.MultiReader(strings.NewReader("Message\n"), message, strings.NewReader(
		"\nMessageId\n"+n.MessageID+"\nSubject\n"+n.Subject+"\nTimestamp\n"+n.Timestamp+"\nTopicArn\n"+n.TopicArn+"\nType\n"+n.Type+"\n"))
}

// message is the JSON inside the notification.
func (g sesShaped) message(in *incoming) (*body, error) {
	env := in.envelope
	at := timestamp(env.ReceivedAt)
	_, dkim := in.dkim()
	m := sesMessage{
		NotificationType: "Received",
		Mail: sesMail{
			Timestamp: at, Source: env.ReversePath, MessageID: strings.ToLower(env.ID), Destination: in.recipients(), Headers: []sesHeader{},
			CommonHeaders: sesCommonHeaders{
				ReturnPath: env.ReversePath, From: sesAddresses(in.content.From), Date: in.header("Date"), To: sesAddresses(in.content.To),
				Cc: sesAddresses(in.content.Cc), MessageID: in.content.MessageID, Subject: in.header("Subject"),
			},
		},
		Receipt: sesReceipt{
			Timestamp: at, Recipients: in.recipients(),
			SpamVerdict: sesVerdict{"PROCESSING_FAILED"}, VirusVerdict: sesVerdict{"PROCESSING_FAILED"}, // nobody has looked
			SPFVerdict: sesStatus(in.auth.SPF.Result), DKIMVerdict: sesVerdict{"GRAY"}, DMARCVerdict: sesStatus(in.auth.DMARC.Result),
			Action: sesAction{Type: "SNS", TopicArn: g.TopicARN, Encoding: "BASE64"},
		},
	}
	if signed, _ := in.dkim(); signed {
		m.Receipt.DKIMVerdict = sesVerdict{"FAIL"}
	}
	if dkim {
		m.Receipt.DKIMVerdict = sesVerdict{"PASS"}
	}
	if in.auth.DMARC.Result == pipeline.ResultFail {
		m.Receipt.DMARCPolicy = in.auth.DMARC.Policy
	}
	for _, h := range in.headers {
		m.Mail.Headers = append(m.Mail.Headers, sesHeader(h))
	}
	n, _ := io.Copy(io.Discard, in.mail()) // memory does not fail
	j := &document{}
	m.Content = j.base64(n, func() io.Reader { return in.mail() })
	return j.body(m)
}

func sesStatus(result string) sesVerdict {
	switch result {
	case pipeline.ResultPass:
		return sesVerdict{"PASS"}
	case pipeline.ResultFail, pipeline.ResultSoftFail:
		return sesVerdict{"FAIL"}
	case pipeline.ResultTempError:
		return sesVerdict{"PROCESSING_FAILED"}
	}
	return sesVerdict{"GRAY"}
}

// sesAddresses are addresses as in a header.
func sesAddresses(as []pipeline.Address) []string {
	out := make([]string, 0, len(as))
	for _, a := range as {
		if a.Name == "" {
			out = append(out, a.Address)
			continue
		}
		out = append(out, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Name)+`" <`+a.Address+`>`)
	}
	return out
}
