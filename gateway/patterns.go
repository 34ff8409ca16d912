package gateway

import (
	"regexp"
	"regexp/syntax"
	"sync"
)

const (
	// patternsBytes bounds what compiled patterns take together, about. Beyond
	// it any are forgotten, and compiled again when a request needs them.
	patternsBytes = 32 << 20
	// instructionBytes is what an instruction of a compiled pattern takes.
	instructionBytes = 64
	// patternBytes is what a compiled pattern takes besides.
	patternBytes = 1 << 10
)

// patterns keeps the compiled allowed_urls of sessions: to compile one takes
// longer than the rest of the request. It is safe for concurrent use; the zero
// value is empty.
type patterns struct {
	mu       sync.RWMutex
	compiled map[string]pattern
	size     int // of compiled, in bytes
}

type pattern struct {
	expression *regexp.Regexp
	err        error
	size       int // in bytes
}

// compile is [regexp.Compile].
func (p *patterns) compile(text string) (*regexp.Regexp, error) {
	p.mu.RLock()
	known, ok := p.compiled[text]
	p.mu.RUnlock()
	if ok {
		return known.expression, known.err
	}
	known.expression, known.err = regexp.Compile(text)
	known.size = patternBytes + len(text) + instructionBytes*instructions(text)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.compiled[text]; ok || known.size > patternsBytes {
		return known.expression, known.err
	}
	for other, old := range p.compiled {
		if p.size+known.size <= patternsBytes {
			break
		}
		delete(p.compiled, other)
		p.size -= old.size
	}
	if p.compiled == nil {
		p.compiled = make(map[string]pattern)
	}
	p.compiled[text] = known
	p.size += known.size
	return known.expression, known.err
}

// instructions is how many a pattern is compiled to; repetitions make many of a
// short one.
func instructions(text string) int {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}
