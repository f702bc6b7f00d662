package main

// authFloors are those of message authentication; docs/decisions/0042 argues every case that is not met.
func authFloors() map[string]float64 {
	return map[string]float64{"spf": 95.5, "dkim": 100, "arc": 100, "auth": 96, "dmarc": 96.5}
}
