//go:build cgo

package bridge

/*
#include <stdlib.h>
#include "call.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/telemetry"
)

// interruptInterval is how often an overdue call is interrupted anew: plugin
// code can catch the exception, or be in C code that does not see it.
const interruptInterval = time.Second

// call is one call into plugin code. Whoever can still touch it, the goroutine
// that runs it and the one that waits for it or interrupts it, holds a
// reference; the last one frees it and its place among the calls in flight.
type call struct {
	c          *C.struct_krait_call
	runtime    *Runtime
	about      []any // log attributes
	references atomic.Int32
	done       chan struct{} // closed when plugin code has returned
}

func (r *Runtime) newCall(ctx context.Context) (*call, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	c := C.krait_call_new()
	if c == nil {
		r.places.Release(1)
		return nil, errors.New("out of memory for a call into Python")
	}
	k := &call{c: c, runtime: r, done: make(chan struct{})}
	k.references.Store(2)
	return k, nil
}

// enter takes a place among the calls in flight.
func (r *Runtime) enter(ctx context.Context) error {
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

func (k *call) release() {
	if k.references.Add(-1) > 0 {
		return
	}
	C.krait_call_free(k.c)
	k.runtime.places.Release(1)
}

// interrupt raises HookTimeout in plugin code until that ends.
func (k *call) interrupt() {
	defer k.release()
	var stack C.struct_krait_text
	C.krait_interrupt(k.c, &stack)
	k.runtime.config.Logger.Warn("hook is overdue and interrupted",
		append(k.about, telemetry.KeyTraceback, C.GoStringN(stack.data, C.int(stack.length)))...)
	C.free(unsafe.Pointer(stack.data))
	for {
		select {
		case <-k.done:
			return
		case <-time.After(interruptInterval):
			C.krait_interrupt(k.c, nil)
		}
	}
}

type outcome[T any] struct {
	value T
	err   error
}

// job is what [invoke] does. Functions that are nil are left out.
type job[T any] struct {
	// begin is called when the call has its place; an error ends the call.
	begin func() error
	// run calls into Python and blocks.
	run func(*C.struct_krait_call)
	// read makes the result of a call that succeeded.
	read func(*C.struct_krait_call) (T, error)
	// about says in the log what the call does.
	about []any
	// end follows run while the call still has its place.
	end func()
}

// invoke does j on a goroutine of its own. When ctx ends first, invoke returns
// at once; plugin code that is overdue is interrupted.
func invoke[T any](ctx context.Context, r *Runtime, j job[T]) (T, error) {
	var none T
	began := time.Now()
	k, err := r.newCall(ctx)
	if err != nil {
		return none, err
	}
	k.about = j.about
	if j.begin != nil {
		if err := j.begin(); err != nil {
			k.references.Store(1)
			k.release()
			return none, err
		}
	}
	results := make(chan outcome[T], 1)
	go func() {
		defer k.release()
		j.run(k.c)
		close(k.done)
		var o outcome[T]
		if o.err = goError(&k.c.error); o.err == nil && j.read != nil {
			o.value, o.err = j.read(k.c)
		}
		if j.end != nil {
			j.end()
		}
		results <- o
	}()
	select {
	case o := <-results:
		k.release()
		return o.value, o.err
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		k.release() // the caller went away: the hook may end in its own time
		return none, ctx.Err()
	}
	go k.interrupt()
	return none, fmt.Errorf("%w after %s", coprocess.ErrTimeout, time.Since(began).Round(time.Millisecond))
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
