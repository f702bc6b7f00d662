package configs

import "embed"

// Examples holds the annotated reference mxhook.yaml and the examples minimal.yaml, cluster.yaml and storage.yaml.
//
//go:embed mxhook.yaml minimal.yaml cluster.yaml storage.yaml
var Examples embed.FS
