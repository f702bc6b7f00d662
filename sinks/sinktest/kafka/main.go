// Command kafka is a Kafka broker for tests: kfake of franz-go as a process of its own, which can be killed. It keeps topics
// on disk, synced.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	port := flag.Int("port", 0, "port on loopback")
	data := flag.String("data", "", "folder of the topics")
	topics := flag.String("topics", "", "topics to make, name:partitions,...")
	users := flag.String("users", "", "MECHANISM:user:password,...; then nobody else is let in")
	acls := flag.Bool("acls", false, "users may nothing but what is said otherwise, and the first user anything")
	max := flag.String("max", "", "message.max.bytes")
	pair := flag.String("tls", "", "certificate file,key file")
	flag.Parse()
	if err := run(*port, *data, *topics, *users, *acls, *max, *pair); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(port int, data, topics, users string, acls bool, max, pair string) error {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(data), kfake.SyncWrites()}
	for _, t := range split(topics) {
		var partitions int32
		name, n, _ := strings.Cut(t, ":")
		if _, err := fmt.Sscan(n, &partitions); err != nil {
			return fmt.Errorf("topic %s: %w", t, err)
		}
		opts = append(opts, kfake.SeedTopics(partitions, name))
	}
	if users != "" {
		opts = append(opts, kfake.EnableSASL())
	}
	for i, u := range split(users) {
		f := strings.SplitN(u, ":", 3)
		if len(f) != 3 {
			return fmt.Errorf("user %d is not MECHANISM:user:password", i+1)
		}
		if acls && i > 0 {
			opts = append(opts, kfake.User(f[0], f[1], f[2]))
			continue
		}
		opts = append(opts, kfake.Superuser(f[0], f[1], f[2]))
	}
	if acls {
		opts = append(opts, kfake.EnableACLs())
	}
	if max != "" {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{"message.max.bytes": max}))
	}
	if pair != "" {
		cert, key, _ := strings.Cut(pair, ",")
		c, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		opts = append(opts, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	<-ended
	return nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
