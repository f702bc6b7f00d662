package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// startNode runs the script in the directory of its libraries, which is where Node looks for them.
func startNode(e Env) (*Running, error) {
	script := filepath.Join(e.Cache, "node", "smtp-server.mjs")
	if _, err := os.Stat(filepath.Join(e.Cache, "node/node_modules/smtp-server")); err != nil {
		return nil, fmt.Errorf("smtp-server is not installed (bench/deps does that): %w", err)
	}
	if err := write("smtp-server.mjs", script); err != nil {
		return nil, err
	}
	return program(exec.Command("node", script, e.URL))
}

// startHaraka runs Haraka with nothing but the plugin. One process: its script has no more than one core as well.
func startHaraka(e Env) (*Running, error) {
	core := filepath.Join(e.Cache, "node/node_modules/Haraka")
	// What a file of ours leaves out is not taken from Haraka's own.
	connection, err := os.ReadFile(filepath.Join(core, "config/connection.ini"))
	if err != nil {
		return nil, fmt.Errorf("no Haraka here (bench/deps installs it): %w", err)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	if err := writeText(e.Dir, map[string]string{
		"config/smtp.ini": "listen=" + addr + "\nnodes=0\n", "config/log.ini": "[main]\nlevel=WARN\n", "config/plugins": "webhook\n",
		"config/connection.ini": string(connection), "config/host_list": "example.com\n",
	}); err != nil {
		return nil, err
	}
	if err := write("haraka-webhook.js", filepath.Join(e.Dir, "plugins/webhook.js")); err != nil {
		return nil, err
	}
	cmd := exec.Command("node", filepath.Join(core, "bin/haraka"), "-c", e.Dir)
	cmd.Env = append(os.Environ(), "WEBHOOK_URL="+e.URL)
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	return listening(cmd, addr, &said)
}

func startAiosmtpd(e Env) (*Running, error) {
	script := filepath.Join(e.Dir, "relay.py")
	if err := write("relay.py", script); err != nil {
		return nil, err
	}
	cmd := exec.Command("/usr/bin/python3", script, e.URL)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(e.Cache, "python/usr/lib/python3/dist-packages"))
	return program(cmd)
}

// startSink runs Postfix's own test server, with as many sessions and as long a backlog as it is given.
func startSink(Env) (*Running, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var said tail
	cmd := exec.Command("/usr/sbin/smtp-sink", addr, "256")
	if os.Geteuid() == 0 {
		cmd = exec.Command("/usr/sbin/smtp-sink", "-u", "nobody", addr, "256")
	}
	cmd.Stdout, cmd.Stderr = &said, &said
	return listening(cmd, addr, &said)
}

// listening starts a program that was told where to listen, and waits until it does.
func listening(cmd *exec.Cmd, addr string, said *tail) (*Running, error) {
	r, err := process(cmd)
	if err != nil {
		return nil, err
	}
	if err := greets(addr); err != nil {
		r.Stop()
		return nil, fmt.Errorf("%s: %w\n%s", cmd.Path, err, said.String())
	}
	r.SMTP = addr
	return r, nil
}
