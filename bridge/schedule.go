//go:build cgo

package bridge

/*
#include "bell.h"
#include "host_request.h"
#include "schedule.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	coprocess "github.com/krait-gateway/krait"
)

// schedule makes calls possible.
func (r *Runtime) schedule() error {
	bell, err := C.krait_bell_new()
	if bell == -1 {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	r.bell = os.NewFile(uintptr(bell), "bell")
	if !C.krait_schedule(C.size_t(r.config.MaxInFlight)) {
		return errors.Join(errors.New("a thread cannot be started"), r.bell.Close())
	}
	go r.attend()
	return nil
}

// smallVisit is how many calls make a visit to Python that is not worth waiting
// for others: the first call of a visit finds nothing of Python in the processor's
// caches and takes two to three times as long as each further one
// (docs/RATIONALE.md).
const smallVisit = 4

// serve runs calls, its own caller's and others', until there are none or
// another goroutine does so. Where fewer than smallVisit wait, it first lets the
// goroutines run that can: theirs may join. When there are none it goes on at
// once.
func (r *Runtime) serve() {
	for {
		if C.krait_queued() < smallVisit {
			runtime.Gosched()
		}
		var ended *C.struct_krait_call
		again := bool(C.krait_serve(&ended))
		r.handAll(ended)
		if !again {
			return
		}
	}
}

// attend hands over calls that end beside serve: on threads of C's own, and
// coroutines. And it has requests of plugin code performed. It ends when the
// bell is closed.
func (r *Runtime) attend() {
	defer close(r.attended)
	var rings [8]byte
	for {
		if _, err := r.bell.Read(rings[:]); err != nil {
			answerAll(C.krait_host_close())
			return
		}
		r.handAll(C.krait_collect())
		answerAll(C.krait_host_collect())
	}
}

func (r *Runtime) handAll(first *C.struct_krait_call) {
	for _, k := range r.calls.list(first) {
		k.hand()
	}
}

// unschedule waits until no thread runs calls any more, or ctx ends; false when
// some do. No call is left.
func (r *Runtime) unschedule(ctx context.Context) bool {
	wait := time.Duration(math.MaxInt64 / 2)
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	ended := make(chan bool, 1)
	go func() {
		r.serving.Wait()
		ended <- bool(C.krait_unschedule(C.longlong(wait)))
	}()
	select {
	case all := <-ended:
		return all
	case <-ctx.Done():
		return false
	}
}

// submit makes k run as soon as it can, or not at all when that is later than
// after wait.
func (k *call) submit(wait time.Duration) {
	switch C.krait_submit(k.c, C.longlong(wait)) {
	case C.KRAIT_START:
		k.runtime.serving.Go(k.runtime.serve)
	case C.KRAIT_REFUSED:
		k.refuse()
	}
}

// waitOf is how long a call with this limit waits to be run, a little less than
// half of it. So one that runs has at least the other half, and a hook that calls
// back into the gateway gets an answer before its own time is over, also when all
// places are taken.
func waitOf(limit time.Duration) time.Duration { return limit / 20 * 9 }

// withdraw takes k back; false when it has begun.
func (k *call) withdraw() bool { return bool(C.krait_withdraw(k.c)) }

// await waits for the end of k, which has been submitted and has limit from began
// on. When it returns an error, k is given up, if it still runs, and no longer the
// caller's; else plugin code has returned, and the outcome is in k.
func (k *call) await(ctx context.Context, began time.Time, limit time.Duration) error {
	k.timer.Reset(waitOf(time.Until(began.Add(limit)))) // as submit was told
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
