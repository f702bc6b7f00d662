package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"html"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// node is a function called by those above it.
type node struct {
	name     string
	value    int64
	children map[string]*node
}

func (n *node) child(name string) *node {
	c := n.children[name]
	if c == nil {
		c = &node{name: name, children: map[string]*node{}}
		n.children[name] = c
	}
	return c
}

// tree puts all stacks on top of each other.
func tree(p *profile.Profile, value int) *node {
	root := &node{name: "all", children: map[string]*node{}}
	for _, s := range p.Sample {
		v := s.Value[value]
		root.value += v
		at := root
		functions := stack(s)
		slices.Reverse(functions)
		for _, f := range functions {
			at = at.child(f)
			at.value += v
		}
	}
	return root
}

// Sizes of the picture in pixels.
const (
	width  = 1200
	row    = 16
	margin = 28
)

// draw draws the root at the top and what it calls below; boxes of less than a share are left out.
func draw(root *node, title string, least float64) []byte {
	var boxes bytes.Buffer
	deepest := 0
	var put func(n *node, x float64, depth int)
	put = func(n *node, x float64, depth int) {
		share := float64(n.value) / float64(max(1, root.value))
		if share < least {
			return
		}
		deepest = max(deepest, depth)
		w, y := share*width, margin+depth*row
		label := short(n.name)
		fmt.Fprintf(&boxes, `<g><title>%s %.1f%%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, html.EscapeString(label), 100*share, x, y, max(w-.5, .5), row-1, color(n.name))
		if room := int(w / 6.2); room > 3 {
			if len(label) > room {
				label = label[:room-1] + "…"
			}
			fmt.Fprintf(&boxes, `<text x="%.1f" y="%d">%s</text>`, x+2, y+row-5, html.EscapeString(label))
		}
		boxes.WriteString("</g>\n")
		children := make([]*node, 0, len(n.children))
		for _, c := range n.children {
			children = append(children, c)
		}
		slices.SortFunc(children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
		for _, c := range children {
			put(c, x, depth+1)
			x += float64(c.value) / float64(max(1, root.value)) * width
		}
	}
	put(root, 0, 0)
	var out bytes.Buffer
	height := margin + (deepest+1)*row + 4
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="monospace" font-size="10"><rect width="100%%" height="100%%" fill="#fff"/><text x="4" y="18" font-size="14">%s</text>`+"\n", width, height, html.EscapeString(title))
	out.Write(boxes.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// short leaves out the path of a package.
func short(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	return strings.ReplaceAll(name, "[...]", "")
}

// color tells whose code it is: ours, that of the queue's server, the runtime's, anybody else's.
func color(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	shade := int(h.Sum32() % 40)
	switch {
	case strings.HasPrefix(name, "mxhook/"):
		return fmt.Sprintf("#%02x%02x%02x", 255-shade, 150-shade, 90)
	case strings.HasPrefix(name, "github.com/nats-io/"):
		return fmt.Sprintf("#%02x%02x%02x", 120, 190-shade, 235-shade)
	case strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "internal/"):
		return fmt.Sprintf("#%02x%02x%02x", 205-shade, 205-shade, 205-shade)
	}
	return fmt.Sprintf("#%02x%02x%02x", 250-shade, 215-shade, 110)
}
