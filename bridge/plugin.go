//go:build cgo

package bridge

/*
#include "call.h"
*/
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/telemetry"
)

// loadTimeout limits the import of a bundle. Imports of large packages take
// seconds, and a load is not part of a request.
const loadTimeout = 60 * time.Second

// versionsTimeout limits the question that Start asks at its end.
const versionsTimeout = 10 * time.Second

// plugin is loaded code. It implements [coprocess.Plugin].
type plugin struct {
	runtime *Runtime
	code    coprocess.Code
	timeout time.Duration
	// turn holds one token when calls have to come one after the other.
	turn chan struct{}
	// overdue counts calls that run beyond their time limit and keep their
	// places.
	overdue atomic.Int64
	handle  int64

	mu    sync.Mutex // guards what follows; held for moments only
	calls int        // in flight; the last one frees the code once gone is set
	gone  bool
}

// Load imports code.Entry in a package of its own and checks that it defines
// the hooks and events of code. Errors: [*PyError] for what Python raised,
// which errors.Is finds to be coprocess.ErrHookNotFound when a function is
// missing.
func (r *Runtime) Load(ctx context.Context, code coprocess.Code) (coprocess.Plugin, error) {
	if code.Entry == "" {
		return nil, fmt.Errorf("load plugin %q: it has no Python file; list middleware.py in the manifest's file_list", code.Name)
	}
	p := &plugin{runtime: r, code: code, timeout: code.Timeout}
	if p.timeout <= 0 {
		p.timeout = r.config.HookTimeout
	}
	if code.Serial {
		p.turn = make(chan struct{}, 1)
	}
	handle, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	p.handle = handle
	return p, nil
}

func (p *plugin) load(ctx context.Context) (int64, error) {
	code := p.code
	all := append([]string{code.Name, code.Dir, code.Entry}, code.Hooks...)
	all = append(append(all, code.Events...), code.Path...)
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	run := func(c *C.struct_krait_call) {
		var pinner runtime.Pinner
		defer pinner.Unpin()
		texts := make([]C.struct_krait_bytes, len(all))
		for i, s := range all {
			if s != "" {
				pinner.Pin(unsafe.StringData(s))
			}
			texts[i] = cBytes(s)
		}
		C.krait_load(c, unsafe.SliceData(texts), C.size_t(len(code.Hooks)), C.size_t(len(code.Events)), C.size_t(len(code.Path)))
	}
	read := func(c *C.struct_krait_call) (int64, error) { return int64(c.handle), nil }
	// Imports that never end keep their places; some have to be left for calls.
	if err := p.runtime.loads.Acquire(ctx, 1); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %d imports of plugin code run already; the log names those that are overdue",
				coprocess.ErrBusy, p.runtime.mostOverdue())
		}
		return 0, fmt.Errorf("load plugin %q: %w", code.Name, err)
	}
	ran := false
	handle, err := invoke(ctx, p.runtime, job[int64]{
		about: []any{telemetry.KeyBundle, code.Name},
		begin: func() error { ran = true; return nil },
		run:   run, read: read, discard: p.unload,
		end: func() { p.runtime.loads.Release(1) },
	})
	if !ran {
		p.runtime.loads.Release(1)
	}
	if err != nil {
		return 0, fmt.Errorf("load plugin %q: %w", code.Name, err)
	}
	return handle, nil
}

// Close refuses further calls and frees the code once those in flight have
// ended on it.
func (p *plugin) Close() error {
	p.mu.Lock()
	idle := !p.gone && p.calls == 0
	p.gone = true
	p.mu.Unlock()
	if idle {
		p.runtime.withPlace(func() { p.unload(p.handle) })
	}
	return nil
}

func (p *plugin) closed() error {
	return fmt.Errorf("plugin %q: %w: it is closed", p.code.Name, coprocess.ErrNotReady)
}

// visit is one call of a plugin, with its turn when calls come one after the
// other.
type visit struct {
	plugin *plugin
	turn   bool
}

// takeTurn waits for the turn of a serial plugin. It comes before the place
// among the calls in flight, which others need meanwhile.
func (v *visit) takeTurn(ctx context.Context) error {
	p := v.plugin
	if p.turn == nil {
		return nil
	}
	ctx, cancel := coprocess.WhileWaiting(ctx)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		v.turn = true
		return nil
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: it runs one call at a time (krait.serial)", coprocess.ErrBusy)
	}
	return ctx.Err()
}

func (v *visit) endTurn() {
	if v.turn {
		v.turn = false
		<-v.plugin.turn
	}
}

// begin counts the call in, so that the code stays.
func (v *visit) begin() error {
	p := v.plugin
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return p.closed()
	}
	p.calls++
	return nil
}

// end counts the call out, and frees the code when the plugin was closed
// meanwhile and this was its last call. The call still has its place, so the
// interpreter is there.
func (v *visit) end() {
	p := v.plugin
	p.mu.Lock()
	p.calls--
	last := p.gone && p.calls == 0
	p.mu.Unlock()
	if last {
		p.unload(p.handle)
	}
	v.endTurn()
}

// unload frees code that nothing calls any more.
func (p *plugin) unload(handle int64) {
	c := C.krait_call_new()
	if c == nil {
		return // out of memory: the code stays
	}
	defer C.krait_call_free(c)
	C.krait_unload(c, C.longlong(handle))
	if err := goError(&c.error); err != nil {
		p.runtime.config.Logger.Warn("plugin code that was closed stays in memory", telemetry.KeyBundle, p.code.Name, telemetry.KeyError, err)
	}
}

// visitPlugin runs one call of function within the time limit of p.
func visitPlugin[T any](ctx context.Context, p *plugin, function string, run func(*C.struct_krait_call, C.longlong), read func(*C.struct_krait_call) (T, error)) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if n := p.overdue.Load(); n > 0 && n >= p.runtime.mostOverdue() {
		return none, fmt.Errorf("%w: %d calls of this plugin are overdue and still run", coprocess.ErrBusy, n)
	}
	v := &visit{plugin: p}
	if err := v.takeTurn(ctx); err != nil {
		return none, err
	}
	began := false
	value, err := invoke(ctx, p.runtime, job[T]{
		begin: func() error {
			err := v.begin()
			began = err == nil
			return err
		},
		run:     func(c *C.struct_krait_call) { run(c, C.longlong(p.handle)) },
		read:    read,
		end:     v.end,
		overdue: &p.overdue,
		about: []any{
			telemetry.KeyRequestID, coprocess.RequestID(ctx), telemetry.KeyBundle, p.code.Name, telemetry.KeyHook, function,
		},
	})
	if !began {
		v.endTurn()
	}
	return value, err
}

// Dispatch runs the hook obj.HookName.
func (p *plugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	message, err := obj.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	if len(message) > math.MaxInt32 {
		return nil, fmt.Errorf("the message has %d bytes; the wire format carries at most 2 GiB", len(message))
	}
	hook, requestID := obj.GetHookName(), coprocess.RequestID(ctx)
	return visitPlugin(ctx, p, hook, func(c *C.struct_krait_call, handle C.longlong) {
		C.krait_dispatch(c, handle, cBytes(hook), cBytes(requestID), C.struct_CoProcessMessage{
			p_data: unsafe.Pointer(unsafe.SliceData(message)),
			length: C.int(len(message)),
		})
	}, readObject)
}

func readObject(c *C.struct_krait_call) (*coprocesspb.Object, error) {
	result := &coprocesspb.Object{}
	if err := result.UnmarshalVT(reply(c)); err != nil {
		return nil, fmt.Errorf("decode the message that Python returned: %w", err)
	}
	return result, nil
}

// DispatchEvent runs the event function that event's handler_name names.
func (p *plugin) DispatchEvent(ctx context.Context, event []byte) error {
	var envelope struct {
		HandlerName string `json:"handler_name"`
	}
	if err := json.Unmarshal(event, &envelope); err != nil {
		return fmt.Errorf("event for bundle %q: %w", p.code.Name, err)
	}
	name, requestID := envelope.HandlerName, coprocess.RequestID(ctx)
	_, err := visitPlugin[struct{}](ctx, p, name, func(c *C.struct_krait_call, handle C.longlong) {
		C.krait_dispatch_event(c, handle, cBytes(name), cBytes(requestID), cBytes(event))
	}, nil)
	if err != nil {
		return fmt.Errorf("event function %q of bundle %q: %w", name, p.code.Name, err)
	}
	return nil
}

func (r *Runtime) askVersions() (Versions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), versionsTimeout)
	defer cancel()
	run := func(c *C.struct_krait_call) { C.krait_versions(c) }
	read := func(c *C.struct_krait_call) (Versions, error) {
		var v Versions
		err := json.Unmarshal(reply(c), &v)
		return v, err
	}
	versions, err := invoke(ctx, r, job[Versions]{run: run, read: read})
	if err != nil {
		return versions, fmt.Errorf("ask Python for its versions: %w", err)
	}
	versions.Library = r.python.Library
	return versions, nil
}
