// Package s3 is the sink that puts deliveries into a bucket of an object store that speaks Amazon's S3 protocol.
package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"mxhook/pipeline"
)

// S3 is a pipeline.Sink with one bucket. Safe for concurrent use. It keeps idle connections until Close.
//
// A delivery becomes <prefix><delivery id>.eml, an object <prefix><delivery id>/<number>-<name> for each attachment, and
// <prefix><delivery id>.json, which comes last: who waits for the JSON finds all. A repeat writes the same objects again;
// no other delivery has their keys. The sink reads nothing, so credentials that can only write are enough.
type S3 struct {
	bucket      string
	base        *pipeline.Template
	prefix      *pipeline.Template
	put         minio.PutObjectOptions
	attachments bool
	payload     Payload
	client      *minio.Client
	creds       *credentials.Credentials
	transport   *http.Transport
	redactor    *strings.Replacer
	now         func() time.Time
}

// New checks the options and returns the sink; it does not connect and reads no file.
func New(o Options) (*S3, error) {
	o = o.withDefaults()
	if o.Bucket == "" {
		return nil, errors.New("bucket is missing: set it to the name of the bucket")
	}
	if o.Payload == nil {
		return nil, errors.New("there is nothing to make the JSON with")
	}
	s := &S3{bucket: o.Bucket, payload: o.Payload, attachments: !o.OmitAttachments, now: time.Now}
	u, err := o.endpoint()
	if err != nil {
		return nil, err
	}
	if s.base, err = o.base(); err != nil {
		return nil, err
	}
	if s.prefix, err = pipeline.ParseTemplate(o.Prefix, pipeline.InKey); err != nil {
		return nil, fmt.Errorf("prefix: %w", err)
	}
	if s.put, err = o.put(); err != nil {
		return nil, err
	}
	if s.creds, err = o.credentials(); err != nil {
		return nil, err
	}
	if s.transport, err = o.transport(); err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	s.client, err = minio.New(u.Host, &minio.Options{
		Creds: s.creds, Secure: u.Scheme == "https", Transport: answers{s.transport}, Region: o.Region, BucketLookup: lookup,
		TrailingHeaders: s.put.AutoChecksum.IsSet(), MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	pairs := []string{}
	for _, secret := range []string{o.SecretKey, o.SessionToken} {
		if len(secret) >= 4 {
			pairs = append(pairs, secret, "[redacted]")
		}
	}
	s.redactor = strings.NewReplacer(pairs...)
	return s, nil
}

// Templates implements pipeline.Templated.
func (s *S3) Templates() []pipeline.TemplateOption {
	return []pipeline.TemplateOption{{Option: "prefix", Template: s.prefix}}
}

// Close releases idle connections.
func (s *S3) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// object is one upload.
type object struct {
	key, contentType string
	size             int64
	open             func() io.Reader
	meta             map[string]string
}

// Deliver implements pipeline.Sink. When it returns nil the store has said of every object that it has it.
func (s *S3) Deliver(ctx context.Context, d *pipeline.Delivery) (pipeline.Response, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Response{}, fmt.Errorf("write to bucket %s: %w", s.bucket, err)
	}
	forCreds := s.client.CredContext()
	forCreds.Context = ctx
	creds, err := s.creds.GetWithContext(forCreds)
	if err != nil {
		return pipeline.Response{}, fmt.Errorf("get credentials: %w", err)
	}
	if creds.AccessKeyID == "" {
		return pipeline.Response{}, errors.New("there are no credentials: set access_key and secret_key, AWS_ACCESS_KEY_ID and " +
			"AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials")
	}
	objects, err := s.objects(d)
	if err != nil {
		return pipeline.Response{}, pipeline.Permanent(err)
	}
	for _, o := range objects {
		if err := s.upload(ctx, o); err != nil {
			return pipeline.Response{}, err
		}
	}
	return pipeline.Response{Status: "stored", Detail: strings.ToValidUTF8(objects[len(objects)-1].key, "_")}, nil
}

// objects are those of a delivery, the JSON last.
func (s *S3) objects(d *pipeline.Delivery) ([]object, error) {
	base, m := s.base.Expand(d), d.Message
	mail := object{key: base + ".eml", contentType: "message/rfc822", size: m.MailSize(), open: m.Mail, meta: map[string]string{}}
	links := map[string]string{}
	objects := []object{mail}
	if c := m.Content; c != nil && s.attachments {
		for i, a := range c.Attachments {
			o := object{
				key: base + "/" + attachmentName(i, a), contentType: contentType(a.ContentType), size: a.Size, open: a.Open,
				meta: map[string]string{"Mxhook-Sha256": hex.EncodeToString(a.SHA256[:])},
			}
			links[a.ID] = s.link(o.key)
			objects = append(objects, o)
		}
	}
	size, open, err := s.payload(d, func(part string) string { return links[part] })
	if err != nil {
		return nil, err
	}
	objects = append(objects, object{key: base + ".json", contentType: "application/json", size: size, open: open, meta: map[string]string{}})
	for _, o := range objects {
		o.meta["Mxhook-Delivery"], o.meta["Mxhook-Message"] = headerText(d.ID), headerText(m.Envelope.ID)
	}
	return objects, nil
}

// link is how tools write the place of an object.
func (s *S3) link(key string) string {
	return (&url.URL{Scheme: "s3", Host: s.bucket, Path: "/" + key}).String()
}

func (s *S3) upload(ctx context.Context, o object) error {
	put := s.put
	put.ContentType, put.UserMetadata = o.contentType, o.meta
	body := o.open()
	if o.size == 0 {
		body = bytes.NewReader(nil) // else an empty body would be sent without a length
	} else {
		body = &ctxReader{ctx, body, o.size}
	}
	if sum, err := s.sum(ctx, o); err != nil {
		return err
	} else if sum != "" {
		put.UserMetadata = maps.Clone(o.meta)
		put.UserMetadata[s.put.AutoChecksum.Key()] = sum
	}
	var wait string
	_, err := s.client.PutObject(context.WithValue(ctx, waitKey{}, &wait), s.bucket, o.key, body, o.size, put)
	return s.judge(ctx, o, err, wait)
}

// sum is the checksum of an object that goes up whole, base64: it is sent ahead, as a header field, which more stores know
// than trailers behind the body. Parts have theirs from the client.
func (s *S3) sum(ctx context.Context, o object) (string, error) {
	if !s.put.AutoChecksum.IsSet() || o.size > int64(s.put.PartSize) {
		return "", nil
	}
	h := s.put.AutoChecksum.Hasher()
	if _, err := io.Copy(h, &ctxReader{ctx, o.open(), o.size}); err != nil {
		return "", fmt.Errorf("read %s: %w", o.key, err)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

// judge says what an error means: the store's own word where it gave one, marked by whether a retry can help.
func (s *S3) judge(ctx context.Context, o object, err error, wait string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // errors of aborted requests do not always say so
		return fmt.Errorf("write %s: %w", o.key, ctx.Err())
	}
	var fromURL *url.Error
	if errors.As(err, &fromURL) {
		err = fromURL.Err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		return fmt.Errorf("write %s: %w", o.key, err)
	}
	text := strings.ToValidUTF8(s.redactor.Replace(answer.Message), "\uFFFD")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	err = fmt.Errorf("write %s to bucket %s: the store said %d %s: %s", o.key, s.bucket, answer.StatusCode, answer.Code, text)
	switch answer.Code {
	// What is wrong with the object itself stays wrong. All else, wrong credentials and a missing bucket too, is cured at
	// the store, and the deliveries wait until it is.
	case "EntityTooLarge", "KeyTooLongError", "MetadataTooLarge", "XMinioInvalidObjectName":
		return pipeline.Permanent(err)
	}
	if delay, ok := s.delay(wait); ok {
		return pipeline.RetryAfter(err, delay)
	}
	return err
}

// delay reads a Retry-After field (RFC 9110 10.2.3).
func (s *S3) delay(wait string) (time.Duration, bool) {
	if n, err := strconv.ParseUint(wait, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(wait); err == nil {
		return max(at.Sub(s.now()), 0), true
	}
	return 0, false
}

// maxName bounds the names of attachments in keys, in octets: keys have at most 1024, and parts of file names 255.
const maxName = 120

// attachmentName is the last part of an attachment's key. Its number keeps those apart that have one id and name.
func attachmentName(i int, a pipeline.Attachment) string {
	clean := func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`/\?#%&:*"<>|{}^[]~`+"`", r) || r == '\uFFFD' {
			return '_'
		}
		return r
	}
	name := strings.Map(clean, a.Filename)
	if len(name) > maxName { // the end says what it is
		name = strings.ToValidUTF8(name[len(name)-maxName:], "")
	}
	return fmt.Sprintf("%d-%s", i+1, name)
}

// contentType is a media type that is fit for a header field.
func contentType(s string) string {
	if _, _, err := mime.ParseMediaType(s); err != nil || headerText(s) != s {
		return "application/octet-stream"
	}
	return s
}

// headerText keeps printable ASCII.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
}

// ctxReader stops reading when its context is done, and hides what else the reader can do. It says that it is at its end
// together with the last of left octets: the client closes its checksum when it hears so, and reads no further than that.
type ctxReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left <= 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case r.left == 0 && (err == nil || err == io.EOF):
		return n, io.EOF
	case err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
