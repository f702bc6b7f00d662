package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// firstInherited is the first file descriptor that systemd hands over (SD_LISTEN_FDS_START).
const firstInherited = 3

// InheritedListeners takes over the listeners that systemd has opened for this process (LISTEN_FDS), by their names
// (FileDescriptorName= of the socket unit), and removes the variables, so that nobody else takes them for his. It returns
// nil without any. The caller owns the listeners.
func InheritedListeners() (map[string]net.Listener, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // meant for another process
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1024 {
		return nil, fmt.Errorf("LISTEN_FDS is %q: that is no number of listeners", count)
	}
	given := strings.Split(names, ":")
	listeners := make(map[string]net.Listener, n)
	for i := range n {
		name := ""
		if i < len(given) {
			name = given[i]
		}
		if err = inherit(listeners, firstInherited+i, name); err != nil {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, closeListeners(listeners))
	}
	return listeners, nil
}

// opsListener is the name of the listener of ops.address.
const opsListener = "ops"

// checkInherited complains about a listener that belongs to nothing in the configuration.
func checkInherited(o Options) error {
	known := []string{opsListener}
	for _, l := range o.Config.SMTP.Listeners {
		known = append(known, l.Name)
	}
	for name := range o.Listeners {
		if !slices.Contains(known, name) {
			return fmt.Errorf("systemd hands over a listener named %q, and there is none of smtp.listeners; set FileDescriptorName= to one of %s",
				name, strings.Join(known, ", "))
		}
	}
	return nil
}

func inherit(listeners map[string]net.Listener, fd int, name string) error {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return fmt.Errorf("file descriptor %d of systemd is not open", fd)
	}
	defer f.Close() // the listener has a descriptor of its own
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("file descriptor %d of systemd (%s): %w", fd, name, err)
	}
	if _, taken := listeners[name]; taken {
		return errors.Join(fmt.Errorf("systemd hands over two listeners named %q; give each a FileDescriptorName of its own", name), l.Close())
	}
	listeners[name] = l
	return nil
}

func closeListeners(listeners map[string]net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Notify tells systemd the state of the service (sd_notify), like READY=1; without systemd it does nothing.
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd %s: %w", state, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell systemd %s: %w", state, err)
	}
	return nil
}
