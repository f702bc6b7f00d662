package peers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// mainCF is the configuration of a Postfix of its own. in_flow_delay would slow the intake down while more comes in than
// goes out; what else is not here is as Postfix has it.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
in_flow_delay = 0
message_size_limit = 60000000
mailbox_size_limit = 0
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
%[2]s
`

const masterCF = `%s inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
lmtp      unix  - - n - - lmtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`

// startPostfix starts a Postfix with its configuration, queue and log in Dir.
func startPostfix(e Env, settings ...string) (*Running, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start a Postfix")
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return nil, fmt.Errorf("no Postfix here (bench/deps installs it): %w", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if err := writeText(e.Dir, map[string]string{
		"conf/main.cf": fmt.Sprintf(mainCF, e.Dir, strings.Join(settings, "\n")), "conf/master.cf": fmt.Sprintf(masterCF, addr),
	}); err != nil {
		return nil, err
	}
	for _, d := range []string{"queue", "data"} {
		if err := os.MkdirAll(filepath.Join(e.Dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chown(filepath.Join(e.Dir, "data"), uid, -1); err != nil {
		return nil, err
	}
	conf := filepath.Join(e.Dir, "conf")
	if out, err := exec.Command("/usr/sbin/postfix", "-c", conf, "start").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("postfix start: %w\n%s", err, out)
	}
	r := &Running{SMTP: addr, Stop: func() { _ = exec.Command("/usr/sbin/postfix", "-c", conf, "stop").Run() }}
	err = greets(addr)
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(filepath.Join(e.Dir, "queue/pid/master.pid")); err == nil {
			var pid int
			if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				r.Roots = []int{pid}
				return r, nil
			}
		}
	}
	r.Stop()
	log, _ := os.ReadFile(filepath.Join(e.Dir, "log")) //nolint:errcheck // it says why, if it is there
	return nil, fmt.Errorf("postfix: %w\n%s", err, log)
}

// startPostfixLMTP puts the relay behind a Postfix that queues.
func startPostfixLMTP(e Env) (*Running, error) {
	relay, err := program(exec.Command(filepath.Join(e.Programs, "relay"), "-lmtp", "-url", e.URL))
	if err != nil {
		return nil, err
	}
	p, err := startPostfix(e, "default_transport = lmtp:inet:"+relay.SMTP, "minimal_backoff_time = 2s", "queue_run_delay = 2s")
	if err != nil {
		relay.Stop()
		return nil, err
	}
	time.Sleep(time.Second) // the queue manager's first run
	return &Running{SMTP: p.SMTP, Roots: append(p.Roots, relay.Roots...), Stop: func() { p.Stop(); relay.Stop() }}, nil
}
