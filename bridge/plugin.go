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
	"slices"
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
	// descriptions are what the code knows of APIs.
	descriptions descriptions

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
	read := func(k *call) (int64, error) { return int64(k.c.handle), nil }
	// Imports that never end keep their threads; calls need some too.
	if err := p.runtime.loads.Acquire(ctx, 1); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %d imports of plugin code run already; the log names those that are overdue",
				coprocess.ErrBusy, p.runtime.mostOverdue())
		}
		return 0, fmt.Errorf("load plugin %q: %w", code.Name, err)
	}
	handle, err := invoke(ctx, p.runtime, invocation[int64]{
		about: []any{telemetry.KeyBundle, code.Name}, run: run, read: read, discard: p.unload,
		end: func() { p.runtime.loads.Release(1) },
	})
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
	if idle && p.runtime.intake.enterLast() {
		p.unloadLast()
	}
	return nil
}

func (p *plugin) closed() error {
	return fmt.Errorf("plugin %q: %w: it is closed", p.code.Name, coprocess.ErrNotReady)
}

// visit is what a call holds of a plugin: its code, and its turn when calls come
// one after the other. The zero value holds nothing.
type visit struct {
	plugin *plugin
	code   bool
	turn   bool
}

// takeTurn waits for the turn of a serial plugin. It comes before the place
// among the calls in flight, which others need meanwhile.
func (v *visit) takeTurn(ctx context.Context, limit time.Duration) error {
	p := v.plugin
	if p.turn == nil {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
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
	v.code = true
	return nil
}

// end gives back what v holds. The code is freed when the plugin was closed
// meanwhile and this was its last call.
func (v *visit) end() {
	if v.code {
		p := v.plugin
		p.mu.Lock()
		p.calls--
		last := p.gone && p.calls == 0
		p.mu.Unlock()
		if last && p.runtime.intake.enterLast() {
			go p.unloadLast() // nobody waits for it
		}
	}
	v.endTurn()
	*v = visit{}
}

// unloadLast frees the code, which nothing calls any more and which has been let
// in as a call is.
func (p *plugin) unloadLast() {
	defer p.runtime.intake.leave()
	p.unload(p.handle)
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
		p.runtime.config.Logger.Warn("replaced plugin code stays in memory", telemetry.KeyBundle, p.code.Name, telemetry.KeyError, err)
	}
}

// request is what a call asks of a plugin.
type request struct {
	kind     C.enum_krait_kind
	function string
	// number and described are the API's description; 0: it is in the message.
	number    int64
	described []byte
	// size is the length of the message, which write writes. The first apart
	// bytes of it are its request alone.
	apart, size int
	write       func([]byte) error
}

// call runs one call of function within the time limit of p. When it returns no
// error, the caller ends the call with finish.
func (p *plugin) call(ctx context.Context, q func() (request, error), function string) (*call, error) {
	began, limit := time.Now(), p.timeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	if n := p.overdue.Load(); n > 0 && n >= p.runtime.mostOverdue() {
		return nil, fmt.Errorf("%w: %d calls of this plugin are overdue and still run", coprocess.ErrBusy, n)
	}
	if limit <= 0 {
		return nil, endedLate(ctx, began)
	}
	k, err := p.runtime.newCall()
	if err != nil {
		return nil, err
	}
	requestID := coprocess.RequestID(ctx)
	k.about = func() []any {
		return []any{telemetry.KeyRequestID, requestID, telemetry.KeyBundle, p.code.Name, telemetry.KeyHook, function}
	}
	k.visit.plugin = p
	if err := k.visit.takeTurn(ctx, limit); err != nil {
		return nil, k.fail(err)
	}
	if err := k.visit.begin(); err != nil {
		return nil, k.fail(err)
	}
	r, err := q()
	if err == nil {
		err = k.fill(r, requestID)
	}
	if err != nil {
		return nil, k.fail(err)
	}
	k.c.handle = C.longlong(p.handle)
	k.submit(waitOf(time.Until(began.Add(limit))))
	if err := k.await(ctx, began, limit); err != nil {
		return nil, err
	}
	if k.refused {
		return nil, k.fail(fmt.Errorf("%w: it is %s", coprocess.ErrNotReady, p.runtime.State()))
	}
	if k.c.error.kind == C.KRAIT_TOO_LATE {
		return nil, k.fail(errWaited())
	}
	if err := goError(&k.c.error); err != nil {
		return nil, k.fail(err)
	}
	return k, nil
}

// fill writes r to the call's buffer.
func (k *call) fill(r request, requestID string) error {
	if r.size > math.MaxInt32 {
		return fmt.Errorf("the message has %d bytes; the wire format carries at most 2 GiB", r.size)
	}
	front := len(r.function) + len(requestID) + len(r.described)
	room := C.krait_buffer_room(&k.c.input, C.size_t(front+r.size))
	if room == nil && front+r.size > 0 {
		return errors.New("out of memory for a call into Python")
	}
	buffer := unsafe.Slice((*byte)(unsafe.Pointer(room)), front+r.size)
	rest := buffer[copy(buffer, r.function):]
	rest = rest[copy(rest, requestID):]
	rest = rest[copy(rest, r.described):]
	k.c.kind = r.kind
	k.c.name_length = C.size_t(len(r.function))
	k.c.id_length = C.size_t(len(requestID))
	k.c.described_length = C.size_t(len(r.described))
	k.c.apart_length = C.size_t(r.apart)
	k.c.number = C.longlong(r.number)
	return r.write(rest)
}

// finish ends a call that nobody runs, and whose outcome has been read if there
// is one.
func (k *call) finish() {
	k.visit.end()
	k.release()
}

func (k *call) fail(err error) error {
	k.finish()
	return err
}

// Dispatch runs the hook obj.HookName. The message that it returns shares with
// obj what the hook has not looked at of the request, bodies that it has left
// alone, and Spec: plugin code gets a copy of that, and what it changes there
// stays there.
func (p *plugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	hook := obj.GetHookName()
	var described *description
	k, err := p.call(ctx, func() (request, error) {
		described = p.descriptions.describe(obj.GetSpec())
		r, err := described.request(obj)
		r.kind, r.function = C.KRAIT_HOOK, hook
		return r, err
	}, hook)
	if err != nil {
		return nil, err
	}
	defer k.finish()
	described.known.Store(true)
	result, err := readObject(k.reply())
	if err != nil {
		return nil, err
	}
	result.Spec = obj.GetSpec()
	restore(result, obj, k.c.left_out)
	return result, nil
}

// readObject decodes a message in one block of memory of its own, which its
// strings share.
func readObject(reply []byte) (*coprocesspb.Object, error) {
	data := append(make([]byte, 0, len(reply)), reply...)
	result := &coprocesspb.Object{}
	if err := result.UnmarshalVTUnsafe(data); err != nil {
		return nil, fmt.Errorf("decode the message that Python returned: %w", err)
	}
	// Who appends to a body must not write over what follows in the block.
	if q := result.GetRequest(); q != nil {
		q.RawBody = slices.Clip(q.RawBody)
	}
	if r := result.GetResponse(); r != nil {
		r.RawBody = slices.Clip(r.RawBody)
	}
	return result, nil
}

// restore puts what Python left out, because it has not changed, into result.
func restore(result, obj *coprocesspb.Object, leftOut C.int) {
	if leftOut&C.KRAIT_REQUEST != 0 {
		result.Request = withChanges(obj.GetRequest(), result.GetRequest())
	}
	if q := result.GetRequest(); q != nil {
		if leftOut&C.KRAIT_REQUEST_RAW != 0 {
			q.RawBody = obj.GetRequest().GetRawBody()
		}
		if leftOut&C.KRAIT_REQUEST_TEXT != 0 {
			q.Body = obj.GetRequest().GetBody()
		}
	}
	if r := result.GetResponse(); r != nil {
		if leftOut&C.KRAIT_RESPONSE_RAW != 0 {
			r.RawBody = obj.GetResponse().GetRawBody()
		}
		if leftOut&C.KRAIT_RESPONSE_TEXT != 0 {
			r.Body = obj.GetResponse().GetBody()
		}
	}
}

// changesNothing says that a request has none of the fields in which a hook asks
// for changes. Python parses such a request when plugin code looks at it.
func changesNothing(q *coprocesspb.MiniRequestObject) bool {
	return len(q.GetSetHeaders())+len(q.GetDeleteHeaders())+len(q.GetAddParams())+len(q.GetDeleteParams()) == 0
}

// withChanges returns a request, which changesNothing, with those of a hook that
// has not looked at it.
func withChanges(q, changes *coprocesspb.MiniRequestObject) *coprocesspb.MiniRequestObject {
	return &coprocesspb.MiniRequestObject{
		Headers: q.GetHeaders(), Body: q.GetBody(), Url: q.GetUrl(), Params: q.GetParams(),
		ExtendedParams: q.GetExtendedParams(), ReturnOverrides: q.GetReturnOverrides(), Method: q.GetMethod(),
		RequestUri: q.GetRequestUri(), Scheme: q.GetScheme(), RawBody: q.GetRawBody(),
		SetHeaders: changes.GetSetHeaders(), DeleteHeaders: changes.GetDeleteHeaders(),
		AddParams: changes.GetAddParams(), DeleteParams: changes.GetDeleteParams(),
	}
}

// DispatchEvent runs the event function that event's handler_name names.
func (p *plugin) DispatchEvent(ctx context.Context, event []byte) error {
	var envelope struct {
		HandlerName string `json:"handler_name"`
	}
	if err := json.Unmarshal(event, &envelope); err != nil {
		return fmt.Errorf("event for bundle %q: %w", p.code.Name, err)
	}
	name := envelope.HandlerName
	k, err := p.call(ctx, func() (request, error) {
		return request{kind: C.KRAIT_EVENT, function: name, size: len(event), write: func(to []byte) error {
			copy(to, event)
			return nil
		}}, nil
	}, name)
	if err != nil {
		return fmt.Errorf("event function %q of bundle %q: %w", name, p.code.Name, err)
	}
	k.finish()
	return nil
}

func (r *Runtime) askVersions() (Versions, error) {
	ctx, cancel := context.WithTimeout(context.Background(), versionsTimeout)
	defer cancel()
	run := func(c *C.struct_krait_call) { C.krait_versions(c) }
	read := func(k *call) (Versions, error) {
		var v Versions
		err := json.Unmarshal(k.reply(), &v)
		return v, err
	}
	versions, err := invoke(ctx, r, invocation[Versions]{run: run, read: read})
	if err != nil {
		return versions, fmt.Errorf("ask Python for its versions: %w", err)
	}
	versions.Library = r.python.Library
	return versions, nil
}
