//go:build cgo

package bridge

/*
#include "call.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"time"

	coprocess "github.com/krait-gateway/krait"
)

// intake counts the calls that have been admitted, waiting ones and those
// included that nobody waits for any more.
type intake struct {
	most int

	mu     sync.Mutex
	state  func() State
	n      int
	closed bool          // the interpreter is ending, or has
	idle   chan struct{} // made by drained, closed when n reaches 0
}

// enter admits a call, or says why it does not.
func (i *intake) enter() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if state := i.state(); state != StateReady {
		return fmt.Errorf("%w: it is %s", coprocess.ErrNotReady, state)
	}
	if i.n >= i.most {
		return fmt.Errorf("%w: %d calls run or wait (coprocess_options.max_in_flight, max_waiting)", coprocess.ErrBusy, i.n)
	}
	i.n++
	return nil
}

// enterLast admits what has to be done before the interpreter ends; false when
// that is too late.
func (i *intake) enterLast() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.n++
	return true
}

func (i *intake) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n--
	if i.n == 0 && i.idle != nil {
		i.closed = true
		close(i.idle)
		i.idle = nil
	}
}

// drained returns a channel that closes when nothing is admitted any more. The
// state is not StateReady.
func (i *intake) drained() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	idle := make(chan struct{})
	if i.n == 0 {
		i.closed = true
		close(idle)
		return idle
	}
	i.idle = idle
	return idle
}

// callTable holds all calls there are, by their index, and those that are free.
// There are never more than were admitted at once.
type callTable struct {
	mu   sync.RWMutex
	all  []*call
	free []*call
}

// take returns a free call, or a new one.
func (t *callTable) take(r *Runtime) (*call, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := len(t.free) - 1; last >= 0 {
		k := t.free[last]
		t.free = t.free[:last]
		return k, nil
	}
	c := C.krait_call_new()
	if c == nil {
		return nil, errors.New("out of memory for a call into Python")
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	k := &call{c: c, runtime: r, timer: timer, done: make(chan struct{}, 1)}
	c.index = C.uint(len(t.all))
	t.all = append(t.all, k)
	return k, nil
}

// put makes k free.
func (t *callTable) put(k *call) {
	k.timer.Stop()
	select {
	case <-k.done: // nobody waited for it
	default:
	}
	k.about, k.discard, k.refused = nil, nil, false
	k.settled.Store(false)
	t.mu.Lock()
	defer t.mu.Unlock()
	most := largeBuffer
	if len(t.free) >= fewCalls {
		most = smallBuffer
	}
	C.krait_call_reset(k.c, C.size_t(most))
	t.free = append(t.free, k)
}

// list returns the calls that C has linked, beginning with c.
func (t *callTable) list(c *C.struct_krait_call) []*call {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var calls []*call
	for ; c != nil; c = c.next {
		calls = append(calls, t.all[c.index])
	}
	return calls
}
