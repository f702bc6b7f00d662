package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
)

// disk looks at the directory of the embedded queue.
func (e *examination) disk() {
	if e.Config.Queue.URL != "" {
		return
	}
	dir := e.Config.DataDir
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			e.note("disk", "mxhook makes it at its first start; its parent must be writable", "%s does not exist", dir)
			return
		}
		e.wrong("disk", "see data_dir", "%s: %v", dir, err)
		return
	}
	free := int64(st.Bavail) * st.Bsize
	left := fmt.Sprintf("%.1f GB", float64(free)/1e9)
	if free < int64(e.Config.Queue.Reserve) {
		e.wrong("disk", "make room: new mail is refused with 452 until then", "%s has %s left, queue.reserve is %v", dir, left, e.Config.Queue.Reserve)
		return
	}
	probe, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		e.note("disk", "it must be writable for the user that mxhook runs as", "%s is not writable for this user", dir)
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name()) // made a moment ago
	e.fine("disk", "%s has %s left, queue.reserve is %v", dir, left, e.Config.Queue.Reserve)
}

// running asks the instance on this host whether it is ready.
func (e *examination) running(ctx context.Context) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	host, port, err := net.SplitHostPort(e.Config.Ops.Address)
	if err != nil {
		return // configs.Load has refused it
	}
	if host == "" || host == "0.0.0.0" || host == "::" || host == "localhost" {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, port)
	client := &http.Client{Transport: &http.Transport{DialContext: e.Dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		e.wrong("queue", "start it: mxhook serve -c FILE", "no mxhook answers at %s", address)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxPolicy))
	if resp.StatusCode != http.StatusOK {
		e.wrong("queue", "see the log", "the mxhook at %s is not ready: %s", address, body)
		return
	}
	e.fine("queue", "the mxhook at %s is ready", address)
}
