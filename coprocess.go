package coprocess

import (
	"context"
	"errors"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
)

// Errors that a [Driver] or [Dispatcher] returns, wrapped with what was
// attempted. Tell them apart with errors.Is.
var (
	// ErrHook says that plugin code raised, or returned something unusable.
	ErrHook = errors.New("plugin hook failed")
	// ErrTimeout says that a hook did not end within its time limit.
	ErrTimeout = errors.New("plugin hook timed out")
	// ErrHookNotFound says that the plugin code defines no hook of that name.
	ErrHookNotFound = errors.New("plugin hook is not defined")
	// ErrBusy says that the limit of calls in flight was reached and no
	// place became free in time.
	ErrBusy = errors.New("plugin runtime is busy")
	// ErrNotReady says that the runtime is not started, or is stopping.
	ErrNotReady = errors.New("plugin runtime is not ready")
)

// Dispatcher carries messages to the code of one plugin.
type Dispatcher interface {
	// Dispatch runs the hook that obj names and returns the message as the
	// hook left it. obj is not modified and not kept, but the two may share
	// maps and bodies: while one is used, the other must not be changed. When
	// ctx ends first, Dispatch returns at once and what the hook returns later
	// is dropped.
	Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error)
	// DispatchEvent passes event, a JSON document with the members
	// message, handler_name and spec (contract section 8), to the event
	// handler that handler_name names.
	DispatchEvent(ctx context.Context, event []byte) error
}

// Plugin is loaded plugin code. Close lets calls in flight end and frees it.
type Plugin interface {
	Dispatcher
	Close() error
}

// Driver makes plugin code callable.
type Driver interface {
	// Load loads code and checks that it defines every hook of code.Hooks.
	// Changed code has to be in another directory: what is loaded may still
	// import from the old one, and a library that is mapped is found by its
	// path.
	Load(ctx context.Context, code Code) (Plugin, error)
}

// Code says where plugin code is and what it has to define.
type Code struct {
	// Name is the bundle's name as configured, for messages and logs.
	Name string
	// Dir is the directory of the unpacked bundle.
	Dir string
	// Entry is the file in Dir that is loaded, for example middleware.py.
	Entry string
	// Hooks and Events name the functions that have to be defined.
	Hooks, Events []string
	// Timeout limits one call; 0 means the driver's default.
	Timeout time.Duration
	// Serial allows one call at a time. That one request at a time is
	// served is up to the gateway, which knows where a request ends.
	Serial bool
	// Path lists further directories to import from, after Dir and
	// Dir/vendor.
	Path []string
}

// Origin says which plugin code is calling; empty fields are unknown.
type Origin struct {
	RequestID, APIID, Bundle, Hook string
}

// Host is what plugin code can ask of the gateway around it.
type Host interface {
	// StoreData keeps value under key. A ttl of 0 or less means no expiry.
	StoreData(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// GetData returns what is stored under key, or nil when there is nothing.
	GetData(ctx context.Context, key string) ([]byte, error)
	// TriggerEvent fires the event name with payload. It never blocks.
	TriggerEvent(origin Origin, name, payload string)
	// Log writes message. level is debug, info, warning or error; anything
	// else is info.
	Log(origin Origin, level, message string)
}

// WhileWaiting returns a context for what a call waits for before it runs: a
// place among the calls in flight, its turn. It ends when half of the time until
// ctx's deadline is over, so that a call that runs has at least the other half,
// and so that a hook that calls back into the gateway around it gets an answer
// before its own time is over, also when all places are taken.
func WhileWaiting(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

type requestIDKey struct{}

// WithRequestID returns ctx carrying the id of the HTTP request that a call
// belongs to; drivers put it into log lines and errors.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the id that [WithRequestID] put into ctx, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
