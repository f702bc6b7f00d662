package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxIncludes bounds the files that one configuration is made of.
const maxIncludes = 1000

// source is one file of the configuration.
type source struct {
	file   string
	data   []byte
	placed bool // nodes have the lines and columns of the file
	rank   int  // in the order of reading
}

// sourceOf returns the file that a node stands in.
func (s *strict) sourceOf(n *yaml.Node) *source {
	if src, ok := s.sources[n]; ok {
		return src
	}
	return s.main
}

// rank is the place of a file in the order of reading.
func (s *strict) rank(file string) int {
	for _, src := range s.read {
		if src.file == file {
			return src.rank
		}
	}
	return 0
}

// take puts a file among the sources, its nodes with it.
func (s *strict) take(file string, data []byte, doc document) *source {
	src := &source{file: file, data: data, placed: doc.placed, rank: len(s.read)}
	s.read = append(s.read, src)
	if doc.root != nil {
		s.mark(doc.root, src)
	}
	return src
}

func (s *strict) mark(n *yaml.Node, src *source) {
	s.sources[n] = src
	for _, c := range n.Content {
		s.mark(c, src)
	}
}

// assemble puts the files that root includes into it: their lists behind its own, their groups key by key. chain are the
// files on the way here, the one of root last.
func (s *strict) assemble(root *yaml.Node, chain []string) {
	list := valueOf(root, "include")
	if list == nil || list.Kind != yaml.SequenceNode {
		return // whatever else it is, the walk complains about
	}
	for i, e := range slices.Clone(list.Content) {
		if e.Kind != yaml.ScalarNode || e.Value == "" {
			continue
		}
		key := fmt.Sprintf("include[%d]", i)
		path := e.Value
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(chain[len(chain)-1]), path)
		}
		path = filepath.Clean(path)
		switch {
		case slices.Contains(chain, path):
			s.complain(key, e, "%s includes itself, by way of %s; remove one of them", e.Value, strings.Join(chain[slices.Index(chain, path):], ", "))
			continue
		case slices.ContainsFunc(s.read, func(src *source) bool { return src.file == path }):
			s.complain(key, e, "%s is included already; remove one", e.Value)
			continue
		case len(s.read) >= maxIncludes:
			s.complain(key, e, "the configuration has more than %d files", maxIncludes)
			return
		}
		s.include(root, key, e, path, chain)
	}
}

func (s *strict) include(root *yaml.Node, key string, e *yaml.Node, path string, chain []string) {
	data, err := s.readFile(path)
	s.files = append(s.files, path)
	if err != nil {
		advice := "name a file that this user may read"
		if errors.Is(err, fs.ErrNotExist) {
			advice = "paths are relative to the file that includes"
		}
		s.complain(key, e, "the file cannot be read: %v; %s", err, advice)
		return
	}
	doc, mistake := read(path, data)
	s.take(path, data, doc)
	switch {
	case mistake != nil:
		s.note(mistake)
	case doc.root == nil:
	case doc.root.Kind != yaml.MappingNode:
		s.complain(key, doc.root, "here stands %s, but a file is a group of keys", kindOf(doc.root))
	default:
		s.assemble(doc.root, append(slices.Clone(chain), path))
		s.merge("", root, doc.root)
	}
}

// merge puts the keys of another file into a group.
func (s *strict) merge(key string, into, from *yaml.Node) {
	for i := 0; i+1 < len(from.Content); i += 2 {
		k, v := from.Content[i], from.Content[i+1]
		j := indexOf(into, k.Value)
		if j < 0 {
			into.Content = append(into.Content, k, v)
			continue
		}
		at, was, by := join(key, k.Value), target(into.Content[j+1]), target(v)
		switch {
		case by.ShortTag() == "!!null":
		case was.ShortTag() == "!!null":
			into.Content[j], into.Content[j+1] = k, v
		case was.Kind == yaml.MappingNode && by.Kind == yaml.MappingNode:
			into.Content[j+1] = s.copied(was)
			s.merge(at, into.Content[j+1], by)
		case was.Kind == yaml.SequenceNode && by.Kind == yaml.SequenceNode:
			into.Content[j+1] = s.copied(was)
			into.Content[j+1].Content = append(into.Content[j+1].Content, by.Content...)
		default:
			first := s.sourceOf(into.Content[j])
			s.complain(at, k, "the key is there already, in %s%s; remove one", first.file, inLine(first, into.Content[j]))
		}
	}
}

func inLine(src *source, n *yaml.Node) string {
	if !src.placed {
		return ""
	}
	return fmt.Sprintf(" line %d", max(1, n.Line))
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// copied is a node that may change: an alias elsewhere may stand for the old one.
func (s *strict) copied(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = slices.Clone(n.Content)
	s.sources[&c] = s.sourceOf(n)
	return &c
}

// valueOf returns the value of a key of a group; nil when there is none.
func valueOf(group *yaml.Node, key string) *yaml.Node {
	if i := indexOf(group, key); i >= 0 {
		return target(group.Content[i+1])
	}
	return nil
}

// indexOf finds a key of a group; -1 means that there is none.
func indexOf(group *yaml.Node, key string) int {
	if group.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(group.Content); i += 2 {
		if group.Content[i].Kind == yaml.ScalarNode && group.Content[i].Value == key {
			return i
		}
	}
	return -1
}
