package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"mxhook/pipeline"
)

// Payload is the JSON of a delivery: its size and a function that reads it from the start. link gives the URL of an
// attachment by its id, or "".
type Payload func(d *pipeline.Delivery, link func(part string) string) (size int64, open func() io.Reader, err error)

// Options configures one sink.
type Options struct {
	Bucket string
	// Endpoint is "https://host" or "http://host:port"; "" is Amazon's.
	Endpoint string
	// Region is that of the bucket; "" is us-east-1, which most other stores take.
	Region string
	// Prefix is a template (pipeline.Template) of what stands before the delivery id in the keys.
	Prefix string
	// PathStyle puts the bucket into the path of requests, not into the host name. It is always so for an Endpoint that is
	// an address.
	PathStyle bool

	// AccessKey, SecretKey and SessionToken are the credentials. Without them those of the environment (AWS_ACCESS_KEY_ID)
	// are taken, then Profile of the shared credentials file, then, when InstanceCredentials is set, those that the
	// machine's or container's metadata service hands out.
	AccessKey, SecretKey, SessionToken string
	Profile                            string
	InstanceCredentials                bool

	// OmitAttachments leaves out the objects of attachments; they are in the mail in any case.
	OmitAttachments bool
	// StorageClass is that of the objects; "" is the bucket's.
	StorageClass string
	// Encryption is by whom the store encrypts: "" as the bucket says, "s3" with keys of the store, "kms" with KMSKey.
	Encryption, KMSKey string
	// Checksum is what the store checks uploads by: "crc32c" (the default), "sha256", "md5" for stores that know nothing
	// else, or "none".
	Checksum string
	// PartSize is the size from which objects are uploaded in parts, and the memory that takes (default 16 MiB).
	PartSize int64

	// CA are the authorities that the endpoint's certificate must come from, PEM; "" are the system's.
	CA string
	// Control judges each address before it is dialled, as net.Dialer.Control; nil allows all.
	Control func(network, address string, c syscall.RawConn) error
	// Concurrency bounds the connections kept (default 16).
	Concurrency int
	// Payload makes the JSON; it must be set.
	Payload Payload
}

// The values of Options.Encryption and Options.Checksum.
const (
	EncryptS3  = "s3"
	EncryptKMS = "kms"

	ChecksumCRC32C = "crc32c"
	ChecksumSHA256 = "sha256"
	ChecksumMD5    = "md5"
	ChecksumNone   = "none"
)

// Bounds and default of Options.PartSize.
const (
	MinPartSize     = 5 << 20
	MaxPartSize     = 1 << 30
	DefaultPartSize = 16 << 20
)

const (
	amazon        = "https://s3.amazonaws.com"
	defaultRegion = "us-east-1"
	connectWithin = 10 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Endpoint == "" {
		o.Endpoint = amazon
	}
	if o.Region == "" {
		o.Region = defaultRegion
	}
	if o.Checksum == "" {
		o.Checksum = ChecksumCRC32C
	}
	if o.PartSize == 0 {
		o.PartSize = DefaultPartSize
	}
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	return o
}

// endpoint reads the endpoint. The error does not quote it: it may hold a password.
func (o Options) endpoint() (*url.URL, error) {
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("endpoint is no URL: write https://host or http://host:port")
	case u.User != nil:
		return nil, errors.New("endpoint has a user name: credentials belong into access_key and secret_key")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("endpoint has a path: write scheme and host only; the bucket is bucket, the rest is prefix")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && o.Control != nil {
		port, _ := strconv.ParseUint(u.Port(), 10, 16)
		if err := o.Control("tcp", netip.AddrPortFrom(ip, uint16(port)).String(), nil); err != nil {
			return nil, fmt.Errorf("endpoint: %w", err)
		}
	}
	return u, nil
}

// base reads the template of keys without their ends.
func (o Options) base() (*pipeline.Template, error) {
	if strings.HasPrefix(o.Prefix, "/") {
		return nil, errors.New("prefix: keys do not begin with /; remove it")
	}
	t, err := pipeline.ParseTemplate(o.Prefix+"{delivery}", pipeline.InKey)
	if err != nil {
		return nil, fmt.Errorf("prefix: %w", err)
	}
	return t, nil
}

// put returns what all uploads have in common.
func (o Options) put() (minio.PutObjectOptions, error) {
	p := minio.PutObjectOptions{StorageClass: o.StorageClass, PartSize: uint64(o.PartSize), NumThreads: 1}
	if o.PartSize < MinPartSize || o.PartSize > MaxPartSize {
		return p, fmt.Errorf("part_size %d: set it to %d to %d", o.PartSize, MinPartSize, MaxPartSize)
	}
	switch o.Checksum {
	case ChecksumCRC32C:
		p.AutoChecksum = minio.ChecksumCRC32C
	case ChecksumSHA256:
		p.AutoChecksum = minio.ChecksumSHA256
	case ChecksumMD5:
		p.SendContentMd5 = true
	case ChecksumNone:
	default:
		return p, fmt.Errorf("checksum %q is unknown: use crc32c, sha256, md5 or none", o.Checksum)
	}
	switch o.Encryption {
	case "":
	case EncryptS3:
		p.ServerSideEncryption = encrypt.NewSSE()
	case EncryptKMS:
		kms, err := encrypt.NewSSEKMS(o.KMSKey, nil)
		if err != nil {
			return p, fmt.Errorf("encryption: %w", err)
		}
		p.ServerSideEncryption = kms
	default:
		return p, fmt.Errorf("encryption %q is unknown: use s3 or kms", o.Encryption)
	}
	if o.KMSKey != "" && o.Encryption != EncryptKMS {
		return p, errors.New("kms_key is for encryption: kms; set that or remove it")
	}
	return p, nil
}

// credentials are asked for at the first attempt; nothing is read or contacted here.
func (o Options) credentials() (*credentials.Credentials, error) {
	switch {
	case o.AccessKey != "" && o.SecretKey != "":
		return credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken), nil
	case o.AccessKey != "" || o.SecretKey != "" || o.SessionToken != "":
		return nil, errors.New("access_key and secret_key belong together: set both, or none for those of the environment")
	}
	chain := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{Profile: o.Profile}}
	if o.InstanceCredentials {
		chain = append(chain, &credentials.IAM{Region: o.Region, Client: &http.Client{
			Timeout: connectWithin, Transport: &http.Transport{DisableKeepAlives: true},
		}})
	}
	return credentials.NewChainCredentials(chain), nil
}

// transport are the connections: no proxy, no redirects of its own, addresses judged.
func (o Options) transport() (*http.Transport, error) {
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		secured.RootCAs = x509.NewCertPool()
		if !secured.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("tls.ca has no certificate: give PEM, or file:/path of it")
		}
	}
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectWithin, KeepAlive: 15 * time.Second, Control: o.Control}).DialContext,
		TLSClientConfig:        secured,
		TLSHandshakeTimeout:    connectWithin,
		MaxIdleConns:           o.Concurrency,
		MaxIdleConnsPerHost:    o.Concurrency,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}, nil
}

// answers stands between client and transport: it notes how long the store asks to wait, and bounds what is sent after
// the attempt is over, the removal of parts that were uploaded in vain.
type answers struct{ *http.Transport }

// cleanUpWithin bounds the removal of parts. What it cannot remove, a rule of the bucket for incomplete uploads does.
const cleanUpWithin = 2 * time.Second

type waitKey struct{}

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodDelete {
		ctx, cancel := context.WithTimeout(r.Context(), cleanUpWithin)
		defer cancel()
		resp, err := a.Transport.RoundTrip(r.WithContext(ctx))
		if err == nil { // nobody reads the answer
			resp.Body.Close()
			resp.Body = http.NoBody
		}
		return resp, err
	}
	resp, err := a.Transport.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 {
		if wait, ok := r.Context().Value(waitKey{}).(*string); ok {
			*wait = resp.Header.Get("Retry-After")
		}
	}
	return resp, err
}
