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
	// Buffers of a call that waits to be used again keep up to largeBuffer
	// bytes, while no more than fewCalls wait, else up to smallBuffer.
	largeBuffer = 512 << 10
	smallBuffer = 16 << 10
	fewCalls    = 32
)

// call is one call into plugin code. It is used again for others when nobody
// refers to it: neither who waits for it or interrupts it, nor who runs it.
type call struct {
	c       *C.struct_krait_call
	runtime *Runtime
	timer   *time.Timer
	// done gets a token when plugin code has returned.
	done chan struct{}

	about   func() []any // log attributes
	visit   visit        // of a plugin
	discard func()       // called with an outcome that nobody waits for

	references atomic.Int32
	settled    atomic.Bool // somebody has taken the outcome, or given it up
	refused    bool        // it was not run, because the runtime is stopping
}

// newCall admits a call; release gives it back.
func (r *Runtime) newCall() (*call, error) {
	if err := r.intake.enter(); err != nil {
		return nil, err
	}
	k, err := r.calls.take(r)
	if err != nil {
		r.intake.leave()
		return nil, err
	}
	k.references.Store(1)
	return k, nil
}

func (k *call) release() {
	if k.references.Add(-1) > 0 {
		return
	}
	r := k.runtime
	r.calls.put(k)
	r.intake.leave()
}

// hand hands the outcome of k to who waits for it; when nobody does any more,
// k ends here.
func (k *call) hand() {
	if k.settled.CompareAndSwap(false, true) {
		k.done <- struct{}{}
		return
	}
	if k.discard != nil {
		k.discard()
	}
	k.visit.end()
	k.done <- struct{}{}
	k.release()
}

// refuse ends k, which is not run because the runtime is stopping.
func (k *call) refuse() {
	k.refused = true
	k.hand()
}

// abandon gives up the outcome of k, which is interrupted at deadline if it
// still runs then. It fails when k has ended in this moment.
func (k *call) abandon(deadline time.Time) bool {
	k.references.Add(1)
	p := k.visit.plugin // from here on the visit belongs to hand
	if !k.settled.CompareAndSwap(false, true) {
		k.references.Add(-1)
		<-k.done
		return false
	}
	go k.interruptAt(deadline, p)
	return true
}

// interruptAt raises HookTimeout in plugin code, that of p if it is a plugin's,
// from deadline on, until that ends.
func (k *call) interruptAt(deadline time.Time, p *plugin) {
	defer k.release()
	if !k.running(time.Until(deadline)) {
		return
	}
	if p != nil {
		p.overdue.Add(1)
		defer p.overdue.Add(-1)
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
	attributes := append(k.about(), telemetry.KeyTraceback, C.GoStringN(stack.data, C.int(stack.length)))
	k.runtime.config.Logger.Warn("hook is overdue and interrupted", attributes...)
}

// reply returns a view of the reply, valid until the call is released.
func (k *call) reply() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(k.c.reply.data)), int(k.c.reply.length))
}

// endedLate is the error of a call that was given up because ctx ended.
func endedLate(ctx context.Context, began time.Time) error {
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w after %s", coprocess.ErrTimeout, time.Since(began).Round(time.Millisecond))
}

// invocation is what [invoke] does. Functions that are nil are left out, except
// run and read.
type invocation[T any] struct {
	// about says in the log what the call does.
	about []any
	// run calls into Python and blocks.
	run func(*C.struct_krait_call)
	// read makes the result of a call that succeeded.
	read func(*call) (T, error)
	// discard gets a result that came when nobody waited any more.
	discard func(T)
	// end follows, also when the call was not admitted.
	end func()
}

// invoke calls into Python, on a goroutine of its own, for what is no part of a
// request. When ctx ends first, invoke returns at once, and plugin code is
// interrupted at the deadline of ctx. ctx has a deadline.
func invoke[T any](ctx context.Context, r *Runtime, v invocation[T]) (T, error) {
	var none T
	began := time.Now()
	end := func() {
		if v.end != nil {
			v.end()
		}
	}
	k, err := r.newCall()
	if err != nil {
		end()
		return none, err
	}
	k.about = func() []any { return slices.Clone(v.about) }
	outcome := func() (T, error) {
		defer end()
		if err := goError(&k.c.error); err != nil {
			return none, err
		}
		return v.read(k)
	}
	k.discard = func() {
		if value, err := outcome(); err == nil && v.discard != nil {
			v.discard(value)
		}
	}
	r.invoked.Add(1)
	go func() {
		v.run(k.c)
		r.invoked.Add(-1)
		k.hand()
	}()
	select {
	case <-k.done:
	case <-ctx.Done():
		deadline, _ := ctx.Deadline()
		if k.abandon(deadline) {
			return none, endedLate(ctx, began)
		}
	}
	defer k.release()
	return outcome()
}

// cBytes passes data to C for one call. The caller keeps data alive.
func cBytes(data string) C.struct_krait_bytes {
	return C.struct_krait_bytes{data: (*C.char)(unsafe.Pointer(unsafe.StringData(data))), length: C.size_t(len(data))}
}
