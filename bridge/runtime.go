//go:build cgo

package bridge

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -D_GNU_SOURCE
#cgo LDFLAGS: -ldl -lpthread
#include <stdlib.h>
#include "schedule.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/semaphore"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/pylib"
)

// started says that this process has tried to start its one interpreter.
var started atomic.Bool

// stopThreadsTimeout is how long Stop waits for threads that plugins started,
// when its context leaves that long.
const stopThreadsTimeout = 5 * time.Second

// Runtime is the embedded interpreter. It implements [coprocess.Driver].
type Runtime struct {
	config   Config
	python   Found
	versions Versions
	library  string // directory of the unpacked Python library

	state  atomic.Int32
	intake intake
	// loads bounds the imports of plugin code among them.
	loads    *semaphore.Weighted
	calls    callTable
	invoked  atomic.Int64 // calls that are no part of requests
	serving  sync.WaitGroup
	bell     *os.File      // calls attend; see bell.h
	attended chan struct{} // closed when attend has ended

	stopOnce sync.Once
	stop     chan time.Duration // to the owner: finalise, or with < 0 do not
	stopped  chan struct{}      // closed by the owner when it is done
	ownErr   error              // of the owner; set before stopped is closed
	stopErr  error              // of Stop; set by stopOnce
	unbind   func()
}

// Start finds the Python that cfg describes, starts it and loads the runtime's
// Python side. It works once in a process, then ErrAlreadyStarted is returned.
// ctx limits the search for an interpreter only.
func Start(ctx context.Context, cfg Config) (*Runtime, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	python, err := Find(ctx, cfg.Python)
	if err != nil {
		return nil, err
	}
	if !started.CompareAndSwap(false, true) {
		return nil, ErrAlreadyStarted
	}
	r := &Runtime{
		config:   cfg,
		python:   python,
		attended: make(chan struct{}),
		stop:     make(chan time.Duration),
		stopped:  make(chan struct{}),
	}
	r.loads = semaphore.NewWeighted(r.mostOverdue())
	r.intake.most, r.intake.state = cfg.MaxInFlight+cfg.MaxWaiting, r.State
	if err := r.start(); err != nil {
		r.state.Store(int32(StateStopped))
		return nil, fmt.Errorf("start Python %s (%s): %w", python.Version, python.Library, err)
	}
	if python.Warning != "" {
		cfg.Logger.Warn("python version is not tested", "python_version", python.Version)
	}
	return r, nil
}

func (r *Runtime) start() error {
	r.state.Store(int32(StateStarting))
	unbind, err := coprocess.BindHost(r.config.Host, coprocess.InterpreterLock{
		Release: C.krait_lock_release,
		Restore: C.krait_lock_restore,
	})
	if err != nil {
		return err
	}
	r.unbind = unbind
	r.library, err = os.MkdirTemp("", "krait-python-")
	if err == nil {
		err = os.CopyFS(r.library, pylib.Files)
	}
	if err != nil {
		r.release()
		return fmt.Errorf("unpack the Python library: %w; set TMPDIR to a directory that can be written", err)
	}
	ready := make(chan error)
	go r.own(ready)
	if err := <-ready; err != nil {
		r.release()
		return err
	}
	if err := r.schedule(); err != nil {
		r.stop <- 0
		<-r.stopped
		r.release()
		return err
	}
	r.state.Store(int32(StateReady))
	if r.versions, err = r.askVersions(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopThreadsTimeout)
		defer cancel()
		return errors.Join(err, r.Stop(ctx))
	}
	return nil
}

// own is the one goroutine that starts and finalises the interpreter, both on
// its own thread: CPython hangs when another thread finalises.
func (r *Runtime) own(ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	defer close(r.stopped)
	if err := r.initialise(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	timeout := <-r.stop
	if timeout < 0 {
		return // plugin code still runs; finalising now would lose its goroutines
	}
	var cErr C.struct_krait_error
	safe := C.krait_interpreter_stop(C.double(timeout.Seconds()), &cErr)
	err := goError(&cErr)
	if !safe {
		err = errors.Join(fmt.Errorf("%w: threads that it started did not end", ErrDrain), err)
	}
	r.ownErr = err
}

func (r *Runtime) initialise() error {
	library := C.CString(r.python.Library)
	defer C.free(unsafe.Pointer(library))
	executable := C.CString(r.python.Interpreter)
	defer C.free(unsafe.Pointer(executable))
	directories := append([]string{r.library}, r.config.Path...)
	array := cStrings(directories)
	defer freeCStrings(array)
	var cErr C.struct_krait_error
	C.krait_interpreter_start(library, executable, unsafe.SliceData(array), 1, C.size_t(len(r.config.Path)), &cErr)
	return goError(&cErr)
}

// cStrings copies items to C; freeCStrings frees the copies.
func cStrings(items []string) []*C.char {
	array := make([]*C.char, len(items))
	for i, item := range items {
		array[i] = C.CString(item)
	}
	return array
}

func freeCStrings(array []*C.char) {
	for _, item := range array {
		C.free(unsafe.Pointer(item))
	}
}

// goError turns a C error into a Go one and clears it.
func goError(e *C.struct_krait_error) error {
	defer C.krait_error_clear(e)
	if e.kind == C.KRAIT_OK {
		return nil
	}
	if e.kind == C.KRAIT_NO_MEMORY {
		return errors.New("out of memory for a Python thread or call")
	}
	err := &PyError{
		Type:    C.GoStringN(e._type.data, C.int(e._type.length)),
		Message: C.GoStringN(e.message.data, C.int(e.message.length)),
		Trace:   C.GoStringN(e.traceback.data, C.int(e.traceback.length)),
	}
	switch e.kind {
	case C.KRAIT_TIMED_OUT:
		err.kind = coprocess.ErrTimeout
	case C.KRAIT_NOT_FOUND:
		err.kind = coprocess.ErrHookNotFound
	}
	return err
}

// State tells where the runtime is in its life.
func (r *Runtime) State() State { return State(r.state.Load()) }

// Python returns which Python runs and what else was looked at.
func (r *Runtime) Python() Found { return r.python }

// Versions describes the interpreter as it was after the start.
func (r *Runtime) Versions() Versions { return r.versions }

// mostOverdue is how many places one plugin may hold with calls that run beyond
// their time limit; then its calls are refused, so that others find places.
func (r *Runtime) mostOverdue() int64 { return int64(max(1, r.config.MaxInFlight/2)) }

// InFlight returns how many calls are in plugin code, those included that
// nobody waits for any more. Coroutines that wait are not: they occupy no thread.
func (r *Runtime) InFlight() int { return int(C.krait_running()) + int(r.invoked.Load()) }

// Stop refuses new calls, lets calls in flight end and finalises the
// interpreter, all within ctx. When ctx ends first it returns ErrDrain and
// leaves the interpreter as it is: end the process then. Later calls return
// what the first one did.
func (r *Runtime) Stop(ctx context.Context) error {
	r.stopOnce.Do(func() { r.stopErr = r.shutDown(ctx) })
	return r.stopErr
}

func (r *Runtime) shutDown(ctx context.Context) error {
	r.state.Store(int32(StateDraining))
	defer r.release()
	defer r.state.Store(int32(StateStopped))
	drained := r.intake.drained()
	for _, k := range r.calls.list(C.krait_close_queue()) {
		k.refuse()
	}
	select {
	case <-drained:
	case <-ctx.Done():
		r.stop <- -1
		return fmt.Errorf("%w: calls in flight did not end: %w", ErrDrain, ctx.Err())
	}
	_ = r.bell.Close() // nothing was written to it here
	<-r.attended
	// A thread may still wait for the interpreter's lock to run a call that
	// has been taken back; taking the lock of one that ends would end it.
	if !r.unschedule(ctx) {
		r.stop <- -1
		return fmt.Errorf("%w: a thread does not give up the interpreter's lock", ErrDrain)
	}
	timeout := stopThreadsTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(0, min(timeout, time.Until(deadline)))
	}
	r.stop <- timeout
	select {
	case <-r.stopped:
		return r.ownErr
	case <-ctx.Done():
		return fmt.Errorf("%w: the interpreter does not finish: %w", ErrDrain, ctx.Err())
	}
}

// release gives back what start took outside of the interpreter.
func (r *Runtime) release() {
	r.unbind()
	if err := os.RemoveAll(r.library); err != nil {
		r.config.Logger.Warn("unpacked python library stays behind", "path", r.library, "error", err)
	}
}

// Attach takes the interpreter's lock for a moment and reports whether it could.
// It is what any call costs at least, for measurements.
func (r *Runtime) Attach() bool {
	if r.intake.enter() != nil {
		return false
	}
	defer r.intake.leave()
	return bool(C.krait_touch())
}
