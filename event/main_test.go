package event_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 5 * time.Second

// handlerFunc makes a function a handler.
type handlerFunc func(ctx context.Context, e event.Event) error

func (f handlerFunc) Handle(ctx context.Context, e event.Event) error { return f(ctx, e) }

// recorder keeps the events it gets.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Handle(_ context.Context, e event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil
}

func (r *recorder) all() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.Event(nil), r.events...)
}

// apiA is a configuration in which only the API "a" has handlers.
func apiA(handlers event.Handlers) map[string]event.API {
	return map[string]event.API{"a": {Handlers: handlers}}
}

// newBus returns a bus with handlers for api "a", which ends with the test.
func newBus(t *testing.T, cfg event.Config, handlers event.Handlers) *event.Bus {
	t.Helper()
	b := event.NewBus(cfg)
	b.Configure(apiA(handlers))
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return b
}
