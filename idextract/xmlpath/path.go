package xmlpath

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/antchfx/xpath"
)

// maxSteps bounds one search: how often it looks at nodes and moves between them,
// and how much text it compares.
const maxSteps = 5_000_000

// Errors of [Path.First], wrapped with what is wrong.
var (
	// ErrMalformed says that the text is no XML document, or one on which the
	// expression fails.
	ErrMalformed = errors.New("malformed XML")
	// ErrTooComplex says that the document exceeds a limit.
	ErrTooComplex = errors.New("XML document is too complex")

	// errExhausted ends a search whose steps are used up.
	errExhausted = errors.New("too many steps")
)

// Path is a compiled expression.
type Path struct {
	expression string
	places     chan struct{} // one for each document in memory
}

// Compile checks an expression. It has to select nodes: a function on top gives
// text, a number or a truth value also for a document without any of the
// nodes, so that all of them would have the same value.
func Compile(expression string) (*Path, error) {
	if strings.Contains(expression, "processing-instruction(") {
		return nil, errors.New("processing instructions cannot be selected")
	}
	compiled, err := compile(expression)
	if err != nil {
		return nil, err
	}
	if !selectsNodes(compiled) {
		return nil, errors.New("the expression selects no nodes")
	}
	return &Path{expression: expression, places: make(chan struct{}, runtime.GOMAXPROCS(0))}, nil
}

// First returns the text of the first node of the document that p selects, ""
// when there is none. The error is an [ErrMalformed], an [ErrTooComplex], or
// what ended ctx; it holds nothing of the text.
func (p *Path) First(ctx context.Context, text string) (string, error) {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	doc, err := parse(text)
	if err != nil {
		return "", err
	}
	// Compiled expressions hold state while they are searched with, and what
	// one document left there must not decide about the next one.
	compiled, err := compile(p.expression)
	if err != nil {
		return "", err
	}
	return doc.first(compiled)
}

// compile reads an expression. An empty table of namespaces makes every prefix
// a fault.
func compile(expression string) (compiled *xpath.Expr, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			compiled, err = nil, fmt.Errorf("%v", fault)
		}
	}()
	return xpath.CompileWithNS(expression, map[string]string{})
}

// selectsNodes tries an expression on a document without nodes.
func selectsNodes(compiled *xpath.Expr) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // a function that does not take its arguments
		}
	}()
	_, ok = compiled.Evaluate(newNavigator(newDocument())).(*xpath.NodeIterator)
	return ok
}

// first returns the text of the first node that compiled selects.
func (d *document) first(compiled *xpath.Expr) (text string, err error) {
	defer func() {
		switch fault := recover(); fault {
		case nil:
		case errExhausted:
			text, err = "", fmt.Errorf("%w: searching it takes more than %d steps", ErrTooComplex, maxSteps)
		default:
			text, err = "", fmt.Errorf("%w: the expression fails on this document", ErrMalformed)
		}
	}()
	found := compiled.Select(newNavigator(d))
	if !found.MoveNext() {
		return "", nil
	}
	return found.Current().Value(), nil
}
