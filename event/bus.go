package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/telemetry"
)

// Defaults of [Config].
const (
	DefaultQueueSize      = 1024
	DefaultWorkers        = 4
	DefaultHandlerTimeout = 10 * time.Second
)

const (
	// warnEvery is how often dropped events are logged at most.
	warnEvery = 10 * time.Second
	// unwindWithin is how long Close waits for handlers after it has ended
	// their context.
	unwindWithin = 2 * time.Second
)

// Config are the settings of a [Bus]; 0 stands for the defaults.
type Config struct {
	// QueueSize is how many events may wait.
	QueueSize int
	// Workers is how many events are handled at the same time.
	Workers int
	// HandlerTimeout limits one call of one handler.
	HandlerTimeout time.Duration
	// Logger gets failures of handlers and warnings about dropped events; nil
	// means none are logged.
	Logger *slog.Logger
}

// Bus queues events and hands them to their handlers. Make one with [NewBus].
type Bus struct {
	logger   *slog.Logger
	timeout  time.Duration
	setup    atomic.Pointer[setup]
	dropped  atomic.Uint64
	failed   atomic.Uint64
	nextWarn atomic.Int64 // Unix nanoseconds

	ctx    context.Context // of all handlers; cancel ends it
	cancel context.CancelFunc
	done   chan struct{} // closed when all workers have returned

	mu     sync.RWMutex // guards closed, and queue against a send after its close
	closed bool
	queue  chan task
}

// API is what [Bus.Configure] wants to know of one API.
type API struct {
	// OrgID is filled into events that lack it.
	OrgID    string
	Handlers Handlers
}

// setup is what one Configure said. Its tasks are the events that were fired
// with it and are not handled yet.
type setup struct {
	apis map[string]API // by API id; never changed in place

	mu       sync.Mutex
	tasks    int
	replaced bool
	handled  chan struct{} // closed when it is replaced and has no tasks
}

// begin counts an event in. It fails when the setup was replaced meanwhile.
func (s *setup) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced {
		return false
	}
	s.tasks++
	return true
}

// more counts another event in, while one is.
func (s *setup) more() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks++
}

func (s *setup) end(tasks int, replaced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks -= tasks
	s.replaced = s.replaced || replaced
	if s.replaced && s.tasks == 0 {
		close(s.handled)
	}
}

// task is an event with the handlers that were configured when it was fired.
type task struct {
	event    Event
	handlers []Handler
	setup    *setup
}

// NewBus returns a bus without handlers, and starts its workers. End it with
// [Bus.Close].
func NewBus(cfg Config) *Bus {
	if cfg.QueueSize <= 0 {
		cfg.QueueSize = DefaultQueueSize
	}
	if cfg.Workers <= 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.HandlerTimeout <= 0 {
		cfg.HandlerTimeout = DefaultHandlerTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bus{
		logger: cfg.Logger, timeout: cfg.HandlerTimeout,
		queue: make(chan task, cfg.QueueSize), done: make(chan struct{}),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.setup.Store(&setup{handled: make(chan struct{})})
	var workers sync.WaitGroup
	for range cfg.Workers {
		workers.Go(b.work)
	}
	go func() {
		workers.Wait()
		close(b.done)
	}()
	return b
}

// Configure replaces all handlers; apis holds them by API id. Events fired
// before go to the handlers of their time; handled is closed when all of them
// are handled or dropped. apis must not be changed afterwards.
func (b *Bus) Configure(apis map[string]API) (handled <-chan struct{}) {
	before := b.setup.Swap(&setup{apis: apis, handled: make(chan struct{})})
	before.end(0, true)
	return before.handled
}

// Fire hands e to its handlers, later and elsewhere. It never blocks: when the
// queue is full or the bus is closed, e is dropped and counted. An event that
// belongs to no API, as compiled plugin code and plugin threads fire them, goes
// to the handlers of every API, as that API's event.
func (b *Bus) Fire(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	now := b.setup.Load()
	for !now.begin() {
		now = b.setup.Load()
	}
	defer now.end(1, false)
	if e.APIID != "" {
		b.fire(e, now, now.apis[e.APIID])
		return
	}
	for id, api := range now.apis {
		e.APIID = id
		b.fire(e, now, api)
	}
}

func (b *Bus) fire(e Event, now *setup, api API) {
	handlers := api.Handlers[e.Name]
	if len(handlers) == 0 {
		return
	}
	if e.OrgID == "" {
		e.OrgID = api.OrgID
	}
	now.more()
	if !b.enqueue(task{e, handlers, now}) {
		now.end(1, false)
		b.drop(e)
	}
}

func (b *Bus) enqueue(t task) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return false
	}
	select {
	case b.queue <- t:
		return true
	default:
		return false
	}
}

// drop counts e and warns about it, but not each time.
func (b *Bus) drop(e Event) {
	total := b.dropped.Add(1)
	now, next := time.Now(), b.nextWarn.Load()
	if now.UnixNano() < next || !b.nextWarn.CompareAndSwap(next, now.Add(warnEvery).UnixNano()) {
		return
	}
	b.logger.Warn("events are dropped: the queue is full because handlers are slow, or the bus is closed",
		telemetry.KeyEvent, e.Name, telemetry.KeyAPIID, e.APIID, "dropped_total", total)
}

// Dropped returns how many events were dropped: for a full queue, or because the
// bus was closed before they were handled.
func (b *Bus) Dropped() uint64 { return b.dropped.Load() }

// Failed returns how many calls of handlers failed.
func (b *Bus) Failed() uint64 { return b.failed.Load() }

// Close takes no more events and waits until those in the queue are handled, or
// ctx ends; then the ones left are dropped and the context of running handlers
// ends. It returns an error when events were left or a handler does not return.
// A second Close waits likewise.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.queue)
	}
	b.mu.Unlock()

	select {
	case <-b.done:
		b.cancel()
		return nil
	case <-ctx.Done():
	}
	before := b.Dropped()
	b.cancel()
	unwind := time.NewTimer(unwindWithin)
	defer unwind.Stop()
	select {
	case <-b.done:
		return fmt.Errorf("close event bus: %w: %d waiting events were dropped", ctx.Err(), b.Dropped()-before)
	case <-unwind.C:
		return fmt.Errorf("close event bus: %w: a handler does not return", ctx.Err())
	}
}

// work handles events until the queue is closed and empty.
func (b *Bus) work() {
	for t := range b.queue {
		b.run(t)
	}
}

func (b *Bus) run(t task) {
	defer t.setup.end(1, false)
	if b.ctx.Err() != nil {
		b.drop(t.event)
		return
	}
	for _, h := range t.handlers {
		b.handle(h, t.event)
	}
}

// errPanic marks an error that was a panic of a handler.
var errPanic = errors.New("handler panicked")

func (b *Bus) handle(h Handler, e Event) {
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	stack, err := guarded(ctx, h, e)
	if err == nil {
		return
	}
	b.failed.Add(1)
	attrs := []any{
		telemetry.KeyEvent, e.Name, telemetry.KeyAPIID, e.APIID, telemetry.KeyRequestID, e.RequestID,
		telemetry.KeyHandler, nameOf(h), telemetry.KeyError, err,
	}
	if errors.Is(err, errPanic) {
		b.logger.Error("event handler panicked", append(attrs, "stack", stack)...)
		return
	}
	b.logger.Warn("event handler failed", attrs...)
}

// nameOf returns what a message calls h; never its contents, which may be secret.
func nameOf(h Handler) string {
	if s, ok := h.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", h)
}

// guarded calls h and turns a panic into its stack and an error.
func guarded(ctx context.Context, h Handler, e Event) (stack string, err error) {
	defer func() {
		if r := recover(); r != nil {
			stack, err = string(debug.Stack()), fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return "", h.Handle(ctx, e)
}
