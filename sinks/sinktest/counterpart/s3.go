package counterpart

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The object store that S3 starts.
const (
	gateway        = "github.com/versity/versitygw/cmd/versitygw"
	gatewayVersion = "v1.8.0"
)

// S3 is a versitygw on loopback with one bucket.
type S3 struct {
	server
	// Address is host:port, Bucket the name of the bucket.
	Address, Bucket      string
	AccessKey, SecretKey string
	// Dir holds the bucket as a folder: objects are files below it.
	Dir string
}

// StartS3 starts a store that ends with the test.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	program, root := built(t, gateway, gatewayVersion), t.TempDir()
	s := &S3{Address: freeAddress(t), Bucket: "mail", AccessKey: "mxhooktest", SecretKey: "s3cret-of-the-store"}
	s.Dir = filepath.Join(root, "data", s.Bucket)
	meta := filepath.Join(root, "meta")
	for _, dir := range []string{s.Dir, meta} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.server = server{
		t: t,
		command: func() *exec.Cmd {
			cmd := exec.Command(program, "--port", s.Address, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet",
				"posix", "--sidecar", meta, filepath.Dir(s.Dir))
			cmd.Dir = root
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root}
			return cmd
		},
		ready: func() error { return answers(s.Address) },
	}
	s.start()
	return s
}
