package console

import (
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// The most a profile may run, and what it runs when the request names no number of seconds.
const (
	maxProfile     = 5 * time.Minute
	defaultProfile = 10 * time.Second
)

// Shares that the lock profiles look at, while they run: one of so many contentions, and waits from this long on.
const (
	mutexFraction = 100
	blockRate     = 100 * time.Microsecond
)

// profile answers with a profile of this process in the format of `go tool pprof`, or a trace for `go tool trace`. What
// is in it are names of functions and no mail.
func (a *API) profile(w http.ResponseWriter, r *http.Request) {
	length := defaultProfile
	if text := r.URL.Query().Get("seconds"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		length = time.Duration(n * float64(time.Second))
		if err != nil || !(n > 0 && n <= maxProfile.Seconds()) {
			fail(w, http.StatusBadRequest, "seconds: from 0 to "+strconv.Itoa(int(maxProfile.Seconds())))
			return
		}
	}
	wait := func() {
		t := time.NewTimer(length)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		case <-a.opts.Stopping:
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	name := r.PathValue("name")
	switch name {
	case "cpu":
		if err := pprof.StartCPUProfile(w); err != nil {
			fail(w, http.StatusConflict, err.Error())
			return
		}
		defer pprof.StopCPUProfile()
		wait()
		return
	case "trace":
		if err := trace.Start(w); err != nil {
			fail(w, http.StatusConflict, err.Error())
			return
		}
		defer trace.Stop()
		wait()
		return
	case "mutex":
		runtime.SetMutexProfileFraction(mutexFraction)
		defer runtime.SetMutexProfileFraction(0) // of two at once the longer one loses its end
		wait()
	case "block":
		runtime.SetBlockProfileRate(int(blockRate))
		defer runtime.SetBlockProfileRate(0)
		wait()
	case "heap":
		runtime.GC() // what lives is counted by the last collection
	}
	p := pprof.Lookup(name)
	if p == nil {
		fail(w, http.StatusNotFound, "no such profile; there are cpu, trace, mutex, block, heap, allocs, goroutine and threadcreate")
		return
	}
	_ = p.WriteTo(w, 0) // the client went away: nothing to tell it
}
