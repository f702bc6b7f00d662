package configs

import (
	"fmt"
	"strings"
	"time"

	"mxhook/ingest"
)

// MTASTS is the policy that senders are told (RFC 8461): Mode is "" (none is served), "none", "testing" or "enforce"; no
// MX means smtp.hostname.
type MTASTS struct {
	Mode   string   `yaml:"mode"`
	MaxAge Duration `yaml:"max_age"`
	MX     []string `yaml:"mx"`
}

// Policy is the text of the policy as senders fetch it, RFC 8461 3.2; hostname is the MX when none is named. With the
// mode "" it is what a first policy would be, in mode testing.
func (m *MTASTS) Policy(hostname string) string {
	mode, hosts := m.Mode, m.MX
	if mode == "" {
		mode = "testing"
	}
	if len(hosts) == 0 {
		hosts = []string{hostname}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", mode)
	for _, mx := range hosts {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(time.Duration(m.MaxAge).Seconds()))
	return b.String()
}

func (c *checker) mtasts() {
	m := &c.cfg.SMTP.MTASTS
	if m.Mode != "" {
		c.oneOf("smtp.mta_sts.mode", m.Mode, "none", "testing", "enforce")
	}
	// RFC 8461 3.2: at most a year; below a day the policy protects nobody.
	c.duration("smtp.mta_sts.max_age", m.MaxAge, day, 365*day)
	for i, mx := range m.MX {
		// RFC 8461 4.1: a wildcard stands for the first label alone.
		if _, err := ingest.NewDomains([]ingest.Domain{{Name: mx}}); err != nil || strings.HasPrefix(mx, "**.") {
			c.add(fmt.Sprintf("smtp.mta_sts.mx[%d]", i), "%q is not the name of an MX; write mx.example.com or *.example.com", mx)
		}
	}
}
