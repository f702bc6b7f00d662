//go:build race

package ingest

// memoryFactor is how many times as much memory the race detector may take.
const memoryFactor = 6
