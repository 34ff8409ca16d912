//go:build cgo

package bridge

/*
#include <stdlib.h>
#include "interrupt.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// interruptInterval is how often an overdue call is interrupted anew:
	// plugin code can catch the exception, or be in C code that does not see
	// it.
	interruptInterval = time.Second
	// retryInterval follows an attempt at a moment that was not safe.
	retryInterval = 2 * time.Millisecond
	// patientInterval takes its place after insistAfter: what waits for an
	// import may do so for long.
	patientInterval = 100 * time.Millisecond
	// insistAfter is how long the standard library is spared.
	insistAfter = 5 * time.Second
)

// call is one call into plugin code. Whoever can still touch it, the goroutine
// that runs it and the one that waits for it or interrupts it, holds a
// reference; the last one frees it and its place among the calls in flight.
type call struct {
	c          *C.struct_krait_call
	runtime    *Runtime
	about      []any         // log attributes
	overdue    *atomic.Int64 // counts calls that run beyond their time limit
	references atomic.Int32
	settled    atomic.Bool   // somebody has taken the outcome, or given it up
	done       chan struct{} // closed when plugin code has returned
}

func (r *Runtime) newCall(ctx context.Context, about []any) (*call, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	c := C.krait_call_new()
	if c == nil {
		r.places.Release(1)
		return nil, errors.New("out of memory for a call into Python")
	}
	k := &call{c: c, runtime: r, about: about, done: make(chan struct{})}
	k.references.Store(1)
	r.inFlight.Add(1)
	return k, nil
}

// enter takes a place among the calls in flight.
func (r *Runtime) enter(ctx context.Context) error {
	ctx, cancel := coprocess.WhileWaiting(ctx)
	defer cancel()
	if state := r.State(); state != StateReady {
		return fmt.Errorf("%w: it is %s", coprocess.ErrNotReady, state)
	}
	if err := r.places.Acquire(ctx, 1); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %d calls are in flight (coprocess_options.max_in_flight)", coprocess.ErrBusy, r.config.MaxInFlight)
		}
		return err
	}
	if state := r.State(); state != StateReady { // Stop came first and has ended
		r.places.Release(1)
		return fmt.Errorf("%w: it is %s", coprocess.ErrNotReady, state)
	}
	return nil
}

// withPlace calls f, which calls into Python for a moment, with a place among
// the calls in flight: now, or when one is free. It does not call f when the
// interpreter is ending.
func (r *Runtime) withPlace(f func()) {
	run := func() {
		defer r.places.Release(1)
		if state := r.State(); state == StateReady || state == StateDraining {
			f()
		}
	}
	if r.places.TryAcquire(1) {
		run()
		return
	}
	go func() {
		// Stop takes all places and gives them back: this ends.
		if err := r.places.Acquire(context.Background(), 1); err == nil {
			run()
		}
	}()
}

func (k *call) release() {
	if k.references.Add(-1) > 0 {
		return
	}
	C.krait_call_free(k.c)
	k.runtime.inFlight.Add(-1)
	k.runtime.places.Release(1)
}

// interruptAt raises HookTimeout in plugin code from deadline on, until that
// ends.
func (k *call) interruptAt(deadline time.Time) {
	defer k.release()
	if !k.running(time.Until(deadline)) {
		return
	}
	if k.overdue != nil {
		k.overdue.Add(1)
		defer k.overdue.Add(-1)
	}
	k.logOverdue()
	overdue := time.Now()
	for {
		wait := interruptInterval
		insist := time.Since(overdue) > insistAfter
		if C.krait_interrupt(k.c, C.bool(insist)) == C.KRAIT_NOT_NOW {
			wait = retryInterval
			if insist {
				wait = patientInterval
			}
		}
		if !k.running(wait) {
			return
		}
	}
}

// running waits for d and reports whether plugin code still runs.
func (k *call) running(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-k.done:
		return false
	case <-timer.C:
		return true
	}
}

func (k *call) logOverdue() {
	var stack C.struct_krait_text
	C.krait_call_stack(k.c, &stack)
	defer C.free(unsafe.Pointer(stack.data))
	attributes := append(slices.Clone(k.about), telemetry.KeyTraceback, C.GoStringN(stack.data, C.int(stack.length)))
	k.runtime.config.Logger.Warn("hook is overdue and interrupted", attributes...)
}

type outcome[T any] struct {
	value T
	err   error
}

// job is what [invoke] does. Functions that are nil are left out.
type job[T any] struct {
	// about says in the log what the call does.
	about []any
	// overdue counts the calls that run beyond their time limit.
	overdue *atomic.Int64
	// begin is called when the call has its place; an error ends the call.
	begin func() error
	// run calls into Python and blocks.
	run func(*C.struct_krait_call)
	// read makes the result of a call that succeeded.
	read func(*C.struct_krait_call) (T, error)
	// discard gets a result that came when nobody waited any more.
	discard func(T)
	// end follows run while the call still has its place.
	end func()
}

// do runs j on the call and hands the outcome over, to results or to discard.
func (j job[T]) do(k *call, results chan<- outcome[T]) {
	defer k.release()
	j.run(k.c)
	close(k.done)
	var o outcome[T]
	if o.err = goError(&k.c.error); o.err == nil && j.read != nil {
		o.value, o.err = j.read(k.c)
	}
	abandoned := !k.settled.CompareAndSwap(false, true)
	if abandoned && o.err == nil && j.discard != nil {
		j.discard(o.value)
	}
	if j.end != nil {
		j.end()
	}
	if !abandoned {
		results <- o
	}
}

// invoke does j on a goroutine of its own. When ctx ends first, invoke returns
// at once, and plugin code is interrupted at the deadline of ctx, also when the
// caller went away before. ctx has a deadline.
func invoke[T any](ctx context.Context, r *Runtime, j job[T]) (T, error) {
	var none T
	began := time.Now()
	k, err := r.newCall(ctx, j.about)
	if err != nil {
		return none, err
	}
	if j.begin != nil {
		if err := j.begin(); err != nil {
			k.release()
			return none, err
		}
	}
	k.references.Store(2)
	k.overdue = j.overdue
	results := make(chan outcome[T], 1)
	go j.do(k, results)
	select {
	case o := <-results:
		k.release()
		return o.value, o.err
	case <-ctx.Done():
	}
	if !k.settled.CompareAndSwap(false, true) {
		k.release() // it ended in the same moment
		o := <-results
		return o.value, o.err
	}
	deadline, _ := ctx.Deadline()
	go k.interruptAt(deadline)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return none, fmt.Errorf("%w after %s", coprocess.ErrTimeout, time.Since(began).Round(time.Millisecond))
	}
	return none, ctx.Err()
}

// reply returns a view of the reply, valid until the call is released.
func reply(c *C.struct_krait_call) []byte {
	return unsafe.Slice((*byte)(c.reply.p_data), int(c.reply.length))
}

// cBytes passes data to C for one call. The caller keeps data alive.
func cBytes[T ~string | ~[]byte](data T) C.struct_krait_bytes {
	var start unsafe.Pointer
	switch d := any(data).(type) {
	case string:
		start = unsafe.Pointer(unsafe.StringData(d))
	case []byte:
		start = unsafe.Pointer(unsafe.SliceData(d))
	}
	return C.struct_krait_bytes{data: (*C.char)(start), length: C.size_t(len(data))}
}
