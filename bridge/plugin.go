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
	// handle names the code in Python; 0 once closed.
	handle atomic.Int64
	// loading keeps Reload and Close apart.
	loading sync.Mutex
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
	p.handle.Store(handle)
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
	handle, err := invoke(ctx, p.runtime, job[int64]{run: run, read: read, end: noEnd})
	if err != nil {
		return 0, fmt.Errorf("load plugin %q: %w", code.Name, err)
	}
	return handle, nil
}

func (p *plugin) unload(handle int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	run := func(c *C.struct_krait_call) { C.krait_unload(c, C.longlong(handle)) }
	_, err := invoke(ctx, p.runtime, job[struct{}]{run: run, read: noReply, end: noEnd})
	if errors.Is(err, coprocess.ErrNotReady) {
		return nil // the interpreter is ending and takes the code with it
	}
	return err
}

// Reload imports the code anew from its directory.
func (p *plugin) Reload(ctx context.Context) error {
	p.loading.Lock()
	defer p.loading.Unlock()
	old := p.handle.Load()
	if old == 0 {
		return p.closed()
	}
	handle, err := p.load(ctx)
	if err != nil {
		return err
	}
	p.handle.Store(handle)
	return p.unload(old)
}

// Close frees the code; calls in flight end on it.
func (p *plugin) Close() error {
	p.loading.Lock()
	defer p.loading.Unlock()
	if handle := p.handle.Swap(0); handle != 0 {
		return p.unload(handle)
	}
	return nil
}

func (p *plugin) closed() error {
	return fmt.Errorf("plugin %q: %w: it is closed", p.code.Name, coprocess.ErrNotReady)
}

// begin returns the handle to call, and ends a turn of a serial plugin.
func (p *plugin) begin(ctx context.Context) (handle int64, end func(), err error) {
	end = noEnd
	if p.turn != nil {
		select {
		case p.turn <- struct{}{}:
			end = func() { <-p.turn }
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("plugin %q runs one call at a time: %w: %w", p.code.Name, coprocess.ErrBusy, ctx.Err())
		}
	}
	handle = p.handle.Load()
	if handle == 0 {
		end()
		return 0, nil, p.closed()
	}
	return handle, end, nil
}

// Dispatch runs the hook obj.HookName.
func (p *plugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	result, err := p.dispatch(ctx, obj)
	if err != nil {
		return nil, fmt.Errorf("hook %q of bundle %q: %w", obj.GetHookName(), p.code.Name, err)
	}
	return result, nil
}

func (p *plugin) dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	message, err := obj.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	if len(message) > math.MaxInt32 {
		return nil, fmt.Errorf("the message has %d bytes; the wire format carries at most 2 GiB", len(message))
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	handle, end, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	hook, requestID := obj.GetHookName(), coprocess.RequestID(ctx)
	run := func(c *C.struct_krait_call) {
		C.krait_dispatch(c, C.longlong(handle), cBytes(hook), cBytes(requestID), C.struct_CoProcessMessage{
			p_data: unsafe.Pointer(unsafe.SliceData(message)),
			length: C.int(len(message)),
		})
	}
	return invoke(ctx, p.runtime, job[*coprocesspb.Object]{run: run, read: readObject, end: end})
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
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	handle, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	name := envelope.HandlerName
	run := func(c *C.struct_krait_call) {
		C.krait_dispatch_event(c, C.longlong(handle), cBytes(name), cBytes(event))
	}
	_, err = invoke(ctx, p.runtime, job[struct{}]{run: run, read: noReply, end: end})
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
	versions, err := invoke(ctx, r, job[Versions]{run: run, read: read, end: noEnd})
	if err != nil {
		return versions, fmt.Errorf("ask Python for its versions: %w", err)
	}
	versions.Library = r.python.Library
	return versions, nil
}
