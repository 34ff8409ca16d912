package xmlpath

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/antchfx/xpath"
)

const (
	// maxNodes bounds elements, attributes, texts and comments together.
	maxNodes = 100_000
	// maxDepth bounds how deep elements are nested.
	maxDepth = 256
)

// none stands for no node.
const none = -1

// document is a tree in one slice; links are indices. The root is node 0.
type document struct {
	nodes []node
	// text is that of all text nodes in order, so that the text of an element
	// is a part of it.
	text  string
	count int // of nodes and attributes
}

type node struct {
	kind       xpath.NodeType
	name       string // of an element
	comment    string
	start, end int // of its text in document.text
	attributes []attribute

	parent, firstChild, lastChild, previous, next int
}

type attribute struct{ name, value string }

func newDocument() *document {
	return &document{nodes: []node{{kind: xpath.RootNode, parent: none, firstChild: none, lastChild: none, previous: none, next: none}}}
}

// parse reads the one document that text is.
func parse(text string) (*document, error) {
	b := builder{document: newDocument()}
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.add(token)
		} else {
			// The decoder's own words quote the document.
			err = fmt.Errorf("%w: near byte %d", ErrMalformed, decoder.InputOffset())
		}
		if err != nil {
			return nil, err
		}
	}
	if b.nodes[0].firstChild == none || !b.rooted {
		return nil, fmt.Errorf("%w: there is no element", ErrMalformed)
	}
	b.document.text = b.text.String()
	b.nodes[0].end = len(b.document.text)
	return b.document, nil
}

// builder is a document being read.
type builder struct {
	*document
	text    strings.Builder
	current int // the open element
	depth   int
	rooted  bool // there is a root element
}

func (b *builder) add(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return b.open(token)
	case xml.EndElement:
		b.nodes[b.current].end = b.text.Len()
		b.current = b.nodes[b.current].parent
		b.depth--
	case xml.CharData:
		return b.addText(token)
	case xml.Comment:
		at, err := b.append(xpath.CommentNode, 1)
		if err == nil {
			b.nodes[at].comment = string(token)
		}
		return err
	}
	return nil
}

func (b *builder) open(element xml.StartElement) error {
	switch {
	case b.current == 0 && b.rooted:
		return fmt.Errorf("%w: there is more than one root element", ErrMalformed)
	case b.depth == maxDepth:
		return fmt.Errorf("%w: elements are nested more than %d deep", ErrTooComplex, maxDepth)
	}
	b.rooted = true
	at, err := b.append(xpath.ElementNode, 1+len(element.Attr))
	if err != nil {
		return err
	}
	n := &b.nodes[at]
	n.name = element.Name.Local
	for _, a := range element.Attr {
		if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
			n.attributes = append(n.attributes, attribute{a.Name.Local, a.Value})
		}
	}
	b.current = at
	b.depth++
	return nil
}

// addText adds to the text node that is being read, or begins one.
func (b *builder) addText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if b.current == 0 {
		if strings.TrimSpace(string(text)) != "" {
			return fmt.Errorf("%w: there is text outside of the root element", ErrMalformed)
		}
		return nil
	}
	at := b.nodes[b.current].lastChild
	if at == none || b.nodes[at].kind != xpath.TextNode {
		var err error
		if at, err = b.append(xpath.TextNode, 1); err != nil {
			return err
		}
	}
	b.text.Write(text)
	b.nodes[at].end = b.text.Len()
	return nil
}

// append adds an empty node, which counts for count, to the open element.
func (b *builder) append(kind xpath.NodeType, count int) (int, error) {
	if b.count += count; b.count > maxNodes {
		return 0, fmt.Errorf("%w: it has more than %d nodes", ErrTooComplex, maxNodes)
	}
	at, parent := len(b.nodes), &b.nodes[b.current]
	n := node{
		kind: kind, start: b.text.Len(), end: b.text.Len(),
		parent: b.current, firstChild: none, lastChild: none, previous: parent.lastChild, next: none,
	}
	if parent.lastChild == none {
		parent.firstChild = at
	} else {
		b.nodes[parent.lastChild].next = at
	}
	parent.lastChild = at
	b.nodes = append(b.nodes, n)
	return at, nil
}
