package configs

import (
	"fmt"
	"net/netip"
	"strings"

	"mxhook/sinks/s3"
	"mxhook/sinks/webhook"
)

// S3 is a bucket of an object store. Without AccessKey the credentials are those of the environment or of the shared
// credentials file, and those of the machine's metadata service only when InstanceCredentials is set. After
// Load, the sink's timeout is two minutes unless it is set.
type S3 struct {
	Bucket              string    `yaml:"bucket"`
	Endpoint            string    `yaml:"endpoint"`
	Region              string    `yaml:"region"`
	Prefix              string    `yaml:"prefix" template:"yes"`
	PathStyle           bool      `yaml:"path_style"`
	AccessKey           string    `yaml:"access_key"`
	SecretKey           Secret    `yaml:"secret_key"`
	SessionToken        Secret    `yaml:"session_token"`
	Profile             string    `yaml:"profile"`
	InstanceCredentials bool      `yaml:"instance_credentials"`
	OmitAttachments     bool      `yaml:"omit_attachments"`
	StorageClass        string    `yaml:"storage_class"`
	Encryption          string    `yaml:"encryption"`
	KMSKey              string    `yaml:"kms_key"`
	Checksum            string    `yaml:"checksum"`
	PartSize            Size      `yaml:"part_size"`
	TLS                 ServerTLS `yaml:"tls"`
	AllowPrivate        bool      `yaml:"allow_private"`
	AllowNetworks       []string  `yaml:"allow_networks"`
}

// ServerTLS is what a server's certificate must come from: PEM, or "file:/path"; "" is the system's authorities.
type ServerTLS struct {
	CA Secret `yaml:"ca"`
}

func (S3) defaulted() any {
	return S3{Region: "us-east-1", Prefix: "{date}/{domain}/", Checksum: s3.ChecksumCRC32C, PartSize: s3.DefaultPartSize}
}

func (c *S3) options() *s3.Options {
	o := &s3.Options{
		Bucket: c.Bucket, Endpoint: c.Endpoint, Region: c.Region, Prefix: c.Prefix, PathStyle: c.PathStyle,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(), SessionToken: c.SessionToken.Reveal(), Profile: c.Profile,
		InstanceCredentials: c.InstanceCredentials, OmitAttachments: c.OmitAttachments, StorageClass: c.StorageClass,
		Encryption: c.Encryption, KMSKey: c.KMSKey, Checksum: c.Checksum, PartSize: int64(c.PartSize), CA: c.TLS.CA.Reveal(),
	}
	if !c.AllowPrivate {
		o.Control = webhook.DialControl(prefixes(c.AllowNetworks))
	}
	return o
}

func (c *checker) bucket(key string, s *Sink) {
	c.largeTimeout(key, s)
	c.prefixes(key+".s3.allow_networks", s.S3.AllowNetworks)
	if strings.HasPrefix(s.S3.Endpoint, "http://") && !s.S3.AllowPrivate && len(s.S3.AllowNetworks) == 0 {
		c.warn(key+".s3.endpoint", "mail goes out in clear text; use https://")
	}
}

// prefixes checks networks as webhooks take them.
func (c *checker) prefixes(key string, networks []string) {
	for i, n := range networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			c.add(fmt.Sprintf("%s[%d]", key, i), `%q is not a network; write "10.1.0.0/16", and "10.1.2.3/32" for one address`, n)
		}
	}
}
