package xmlpath

import "github.com/antchfx/xpath"

// noAttribute says that a navigator is at an element itself.
const noAttribute = -1

// textPerStep is how many bytes of text count as one step.
const textPerStep = 64

// navigator is a position in a document. It ends the search, with a panic, when
// its steps are used up.
type navigator struct {
	*document
	left      *int // steps, common to all copies
	at        int
	attribute int
}

func newNavigator(d *document) *navigator {
	left := maxSteps
	return &navigator{document: d, left: &left, attribute: noAttribute}
}

// spend takes steps. The library has no other way to end a search than a panic,
// which document.first recovers from.
func (n *navigator) spend(steps int) {
	if *n.left -= steps; *n.left < 0 {
		panic(errExhausted) //nolint:forbidigo // see above
	}
}

// move goes to another node, if there is one.
func (n *navigator) move(to int) bool {
	n.spend(1)
	if to == none || n.attribute != noAttribute {
		return false
	}
	n.at = to
	return true
}

func (n *navigator) NodeType() xpath.NodeType {
	n.spend(1)
	if n.attribute != noAttribute {
		return xpath.AttributeNode
	}
	return n.nodes[n.at].kind
}

func (n *navigator) LocalName() string {
	if n.attribute != noAttribute {
		return n.nodes[n.at].attributes[n.attribute].name
	}
	return n.nodes[n.at].name
}

// Prefix is always empty, see the package documentation.
func (n *navigator) Prefix() string { return "" }

func (n *navigator) Value() string {
	value := n.value()
	n.spend(1 + len(value)/textPerStep)
	return value
}

func (n *navigator) value() string {
	is := &n.nodes[n.at]
	switch {
	case n.attribute != noAttribute:
		return is.attributes[n.attribute].value
	case is.kind == xpath.CommentNode:
		return is.comment
	}
	return n.text[is.start:is.end]
}

func (n *navigator) Copy() xpath.NodeNavigator {
	n.spend(1)
	c := *n
	return &c
}

func (n *navigator) MoveToRoot() {
	n.spend(1)
	n.at, n.attribute = 0, noAttribute
}

func (n *navigator) MoveToParent() bool {
	if n.attribute != noAttribute {
		n.attribute = noAttribute
		return true
	}
	return n.move(n.nodes[n.at].parent)
}

func (n *navigator) MoveToNextAttribute() bool {
	n.spend(1)
	if n.attribute+1 >= len(n.nodes[n.at].attributes) {
		return false
	}
	n.attribute++
	return true
}

func (n *navigator) MoveToChild() bool { return n.move(n.nodes[n.at].firstChild) }

func (n *navigator) MoveToFirst() bool {
	parent := n.nodes[n.at].parent
	if parent == none || n.nodes[n.at].previous == none {
		return false
	}
	return n.move(n.nodes[parent].firstChild)
}

func (n *navigator) MoveToNext() bool { return n.move(n.nodes[n.at].next) }

func (n *navigator) MoveToPrevious() bool { return n.move(n.nodes[n.at].previous) }

func (n *navigator) MoveTo(to xpath.NodeNavigator) bool {
	other, ok := to.(*navigator)
	if !ok || other.document != n.document {
		return false
	}
	n.at, n.attribute = other.at, other.attribute
	return true
}
