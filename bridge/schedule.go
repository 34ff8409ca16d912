//go:build cgo

package bridge

/*
#include "schedule.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"time"

	coprocess "github.com/krait-gateway/krait"
)

// serve runs calls, its own caller's and others', until there are none or
// another goroutine does so.
func (r *Runtime) serve() {
	for {
		var ended *C.struct_krait_call
		again := bool(C.krait_serve(&ended))
		r.handAll(ended)
		if !again {
			return
		}
	}
}

// attend hands over calls that no goroutine of serve does, coroutines for
// example, and starts another serve when all of them are held up in hooks.
func (r *Runtime) attend() {
	defer close(r.attended)
	for {
		var ended *C.struct_krait_call
		var start C.size_t
		if !C.krait_attend(&ended, &start) {
			return
		}
		for range start {
			r.serving.Go(r.serve)
		}
		r.handAll(ended)
	}
}

func (r *Runtime) handAll(first *C.struct_krait_call) {
	for _, k := range r.calls.list(first) {
		k.hand()
	}
}

// served returns a channel that closes when no goroutine serves any more. No
// call is left, and attend has ended.
func (r *Runtime) served() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.serving.Wait()
	}()
	return ended
}

// submit makes k run as soon as it can, or not at all when that is later than
// after wait.
func (k *call) submit(wait time.Duration) {
	if C.krait_submit(k.c, C.longlong(wait)) {
		k.runtime.serving.Go(k.runtime.serve)
	}
}

// waitOf is how long a call with this limit waits to be run, a little less than
// half of it. So one that runs has at least the other half, and a hook that calls
// back into the gateway gets an answer before its own time is over, also when all
// places are taken.
func waitOf(limit time.Duration) time.Duration { return limit * 9 / 20 }

// withdraw takes k back; false when it has begun.
func (k *call) withdraw() bool { return bool(C.krait_withdraw(k.c)) }

// await waits for the end of k, which was submitted at began and has limit for
// waiting and running. When it returns an error, k is given up, if it still
// runs, and no longer the caller's; else plugin code has returned, and the
// outcome is in k.
func (k *call) await(ctx context.Context, began time.Time, limit time.Duration) error {
	k.timer.Reset(waitOf(limit))
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		if k.withdraw() {
			if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
				return k.fail(err)
			}
			return k.fail(errWaited()) // the timer is late
		}
	case <-k.timer.C:
		if k.withdraw() {
			return k.fail(errWaited())
		}
		k.timer.Reset(time.Until(began.Add(limit)))
		select {
		case <-k.done:
			return nil
		case <-ctx.Done():
		case <-k.timer.C:
		}
	}
	if !k.abandon(began.Add(limit)) {
		return nil // it has ended in this moment
	}
	return endedLate(ctx, began)
}

func errWaited() error {
	return fmt.Errorf("%w: %d calls run and others wait (coprocess_options.max_in_flight)", coprocess.ErrBusy, C.krait_running())
}
