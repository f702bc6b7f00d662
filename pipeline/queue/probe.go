package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// probePrefix begins the name of the file that probeSync writes.
const probePrefix = "sync-probe-"

// probeSync measures how long this volume takes to write and sync 4 KiB: the median of 15.
func probeSync(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, probePrefix)
	if err != nil {
		return 0, fmt.Errorf("measure sync latency: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4*kib)
	took := make([]time.Duration, 15)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, fmt.Errorf("measure sync latency: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("measure sync latency: %w", err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// shardsFor gives the number of mail streams: each has one sync under way at a time, so slow syncs want more of them.
func shardsFor(sync time.Duration) int {
	switch {
	case sync <= time.Millisecond:
		return 4
	case sync <= 5*time.Millisecond:
		return 8
	default:
		return 16
	}
}

// defaultQuota is 70 % of what the volume has free and the store already uses.
func defaultQuota(dir string) (int64, error) {
	free, err := diskFree(dir)
	if err != nil {
		return 0, err
	}
	var used int64
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		used += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the store: %w", err)
	}
	return (free + used) / 10 * 7, nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
