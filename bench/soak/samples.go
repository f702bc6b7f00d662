package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mxhook/bench/server"
)

// sample is one line of the CSV file: the value of each column.
type sample []float64

// column is one thing that is sampled. May is by how much its mean of the last quarter of a run may exceed that of the
// second; 0 is not looked at.
type column struct {
	name string
	may  float64
}

var columns = []column{
	{"seconds", 0},
	{"accepted", 0},
	{"resident_mb", .15},
	{"heap_mb", .25},
	{"goroutines", .15},
	{"file_descriptors", .15},
	{"disk_mb", .15},
	{"mail_streams_mb", .15},
	{"delivery_streams_mb", .25},
	{"dead_stream_mb", .25},
	{"messages_waiting", 0},
	{"deliveries_waiting", 0},
	{"dead_letters", .15},
	{"cpu_seconds", 0},
}

const mb = 1e6

func newSample(p server.Sample, at time.Duration, accepted int64, data string) sample {
	streams := func(prefix string) (sum float64) {
		dirs, _ := filepath.Glob(filepath.Join(data, "queue", "nats", "jetstream", "*", "streams", prefix+"*")) //nolint:errcheck // the pattern is good
		for _, dir := range dirs {
			sum += float64(server.DiskUse(dir)) / mb
		}
		return sum
	}
	return sample{
		at.Seconds(), float64(accepted), float64(p.RSS) / mb, p.Sum("go_memstats_heap_inuse_bytes") / mb, p.Sum("go_goroutines"), float64(p.FDs),
		float64(p.Disk) / mb, streams("MXHOOK_MAIL"), streams("MXHOOK_DELIVERY"), streams("MXHOOK_DEAD"),
		p.Sum("mxhook_queue_messages_waiting"), p.Sum("mxhook_queue_deliveries"), p.Sum("mxhook_queue_dead_letters"), p.CPU.Seconds(),
	}
}

// write writes the samples so far.
func write(name string, samples []sample) error {
	f, err := os.Create(name + ".csv")
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	head := make([]string, len(columns))
	for i, c := range columns {
		head[i] = c.name
	}
	_ = w.Write(head) // Error says it
	for _, s := range samples {
		line := make([]string, len(s))
		for i, v := range s {
			line[i] = strconv.FormatFloat(v, 'f', -1, 64)
			if !strings.HasSuffix(columns[i].name, "s") || v != float64(int64(v)) {
				line[i] = strconv.FormatFloat(v, 'f', 1, 64)
			}
		}
		_ = w.Write(line)
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if len(samples) < 3 {
		return nil
	}
	return drawPanels(name+".png", samples)
}

// flat prints the means of the second and the last quarter, and fails when one has grown by more than it may.
func flat(samples []sample) error {
	mean := func(quarter, column int) float64 {
		part := samples[quarter*len(samples)/4 : (quarter+1)*len(samples)/4]
		sum := 0.
		for _, s := range part {
			sum += s[column]
		}
		return sum / float64(max(1, len(part)))
	}
	var grown []string
	fmt.Printf("| %-20s | %14s | %14s |\n|---|---|---|\n", "mean of", "second quarter", "last quarter")
	for i, c := range columns {
		if c.may == 0 {
			continue
		}
		before, after := mean(1, i), mean(3, i)
		fmt.Printf("| %-20s | %14.1f | %14.1f |\n", c.name, before, after)
		if after > before*(1+c.may) {
			grown = append(grown, c.name)
		}
	}
	if len(grown) > 0 {
		return fmt.Errorf("it grows: %s", strings.Join(grown, ", "))
	}
	return nil
}
