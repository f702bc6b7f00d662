package ingest

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(idleServerEnv) != "" {
		serveIdle()
		return
	}
	goleak.VerifyTestMain(m)
}
