package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// lookShare is the part of Config.tryFor that a look at an external server may take.
	lookShare = 8
	// heardWithin is how long ago a leader may have heard of a follower: it hears every second or two.
	heardWithin = 3 * time.Second
	// silent and cutOff are what a look counts for in which nobody answered, or a leader that has lost its followers did;
	// when looks in a row come to enough, another server is tried. That doubles with each move that did not help, up to
	// most: servers that are only slow get no quicker by it.
	silent, cutOff, enough, most = 2, 3, 6, 48
	// tellAfter is the number of looks in a row without a leader after which that is said, electionAfter the one after
	// which there was an election: it takes 4 s at least.
	tellAfter, electionAfter = 2, 3
)

// contact is what is known of one connection to an external cluster. A server that is cut off from the others keeps its
// connections and answers nothing of use, or, for up to 20 s, as the leader that it was.
type contact struct {
	failed, moves int // since a look that did not fail: what the looks count for, and moves
}

// touch looks whether the servers that we are connected to have contact with their cluster, each by what its connection
// is used for, and which mail streams have a leader. Only watch calls it.
func (q *Queue) touch(ctx context.Context) {
	l := q.link.Load()
	if l == nil {
		return
	}
	mail, delivery := make([]string, len(l.mail())), make([]string, len(l.delivery))
	for k := range mail {
		mail[k] = streamName(mailPrefix, k)
	}
	for k := range delivery {
		delivery[k] = streamName(deliveryPrefix, k)
	}
	var both sync.WaitGroup
	both.Go(func() {
		if led := q.inContact.look(ctx, q, l.in, l.inJS, mail); led != nil {
			q.noteLeaders(l, led)
		}
	})
	both.Go(func() { q.ctlContact.look(ctx, q, l.ctl, l.js, delivery) })
	both.Wait()
}

// look asks for the streams and returns which of them can store something; nil says that nobody could be asked. When
// none can, time after time, the connection goes to another server.
func (c *contact) look(ctx context.Context, q *Queue, nc *nats.Conn, js jetstream.JetStream, streams []string) []bool {
	if !nc.IsConnected() {
		c.failed = 0 // it is looking for a server
		return nil
	}
	led, any, alone := askLeaders(ctx, js, streams)
	switch {
	case any:
		*c = contact{}
		return led
	case q.ending.Err() != nil:
		return nil
	case alone:
		c.failed += cutOff
	default:
		c.failed += silent
	}
	if c.failed >= min(enough<<min(c.moves, 8), most) {
		c.failed = 0
		c.moves++
		q.cfg.Log.Warn("the queue's server has lost its cluster, or does not answer; another one is tried",
			"server", nc.ConnectedServerName(), "cut_off", alone)
		if err := nc.ForceReconnect(); err != nil {
			q.cfg.Log.Warn("leave the queue's server", "error", err)
		}
	}
	return led
}

// askLeaders asks for all streams at once: which have a leader that hears from a majority, whether any has, and whether
// a leader has answered that does not.
func askLeaders(ctx context.Context, js jetstream.JetStream, streams []string) (led []bool, any, alone bool) {
	type answer struct{ led, alone bool }
	answers := make([]answer, len(streams))
	var all sync.WaitGroup
	for k, name := range streams {
		all.Go(func() {
			s, err := js.Stream(ctx, name)
			if err == nil {
				has := hasMajority(s.CachedInfo().Cluster)
				answers[k] = answer{has, !has}
			}
		})
	}
	all.Wait()
	led = make([]bool, len(streams))
	for k, a := range answers {
		led[k], any, alone = a.led, any || a.led, alone || a.alone
	}
	return led, any, alone
}

// hasMajority reports whether a stream has a leader that hears from more than half of the replicas, itself included.
func hasMajority(c *jetstream.ClusterInfo) bool {
	if c == nil {
		return true // a server without a cluster
	}
	if c.Leader == "" {
		return false
	}
	heard := 1
	for _, r := range c.Replicas {
		if !r.Offline && r.Active < heardWithin {
			heard++
		}
	}
	return 2*heard > len(c.Replicas)+1
}

// noteLeaders takes over which mail streams have a leader. When one has a leader again after an election, what is under
// way is sent again at once: what the old leader got is not answered. A look that was only slow is none.
func (q *Queue) noteLeaders(l *link, led []bool) {
	back, changed := false, false
	var without []string
	for k, ok := range led {
		q.leaderless[k].Store(!ok)
		missed := &q.missed[k]
		if ok {
			changed = changed || *missed >= tellAfter
			back = back || *missed >= electionAfter
			*missed = 0
			continue
		}
		*missed++
		changed = changed || *missed == tellAfter
		without = append(without, streamName(mailPrefix, k))
	}
	q.metrics.leaderless.Set(float64(len(without)))
	switch {
	case !changed:
	case len(without) == len(led):
		q.cfg.Log.Warn("no mail stream of the queue has a leader that can be reached")
	case len(without) > 0:
		q.cfg.Log.Warn("mail streams of the queue have no leader; new mail goes to the others", "streams", without)
	default:
		q.cfg.Log.Info("all mail streams of the queue have a leader again")
	}
	if back {
		l.newEra()
	}
}

// mailShard is the mail stream for a new message: the one that its id chooses or, while that has no leader, the next one
// that has.
func (q *Queue) mailShard(id string) int {
	first := shardOf(id, q.shards)
	for i := range q.shards {
		if k := (first + i) % q.shards; !q.leaderless[k].Load() {
			return k
		}
	}
	return first
}

// era is a time in which the leaders of the mail streams do not change, as far as we know.
type era struct {
	over context.Context
	end  context.CancelFunc
}

// newEra begins the next one: what waits for an answer stops to wait, and sends again.
func (l *link) newEra() {
	e := &era{}
	e.over, e.end = context.WithCancel(l.gone)
	if old := l.era.Swap(e); old != nil {
		old.end()
	}
}
