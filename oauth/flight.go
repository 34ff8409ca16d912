package oauth

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Names of flights. What follows the second is a token.
const (
	flightKeys  = "keys"
	flightToken = "token "
)

// flights runs work that several callers wait for: once for each name at a time.
// The work belongs to nobody, so that a caller who hangs up does not fail the
// others; it ends by its own time limits, or when flights is closed.
type flights struct {
	group singleflight.Group

	mu      sync.Mutex
	running map[*flight]struct{}
	closed  bool
	wait    sync.WaitGroup
}

// flight is one piece of work.
type flight struct{ cancel context.CancelFunc }

func newFlights() *flights {
	return &flights{running: make(map[*flight]struct{})}
}

// share returns what work returns, or the error of ctx when it ends first. work
// is not called when the same work runs already, and not after close.
func share[T any](ctx context.Context, f *flights, name string, work func(context.Context) (T, error)) (T, error) {
	var none T
	select {
	case done := <-f.start(ctx, name, func(ctx context.Context) (any, error) { return work(ctx) }):
		if errors.Is(done.Err, context.Canceled) && ctx.Err() == nil {
			return none, ErrClosed // only close cancels work
		}
		if done.Err != nil {
			return none, done.Err
		}
		result, ok := done.Val.(T)
		if !ok {
			return none, fmt.Errorf("%w: %q is other work", ErrUnavailable, name)
		}
		return result, nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// start begins work, or joins it. Its result can be ignored.
func (f *flights) start(ctx context.Context, name string, work func(context.Context) (any, error)) <-chan singleflight.Result {
	return f.group.DoChan(name, func() (result any, err error) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		this := &flight{cancel}
		if !f.enter(this) {
			return nil, ErrClosed
		}
		defer f.leave(this)
		defer func() {
			// Here it would end the process.
			if fault := recover(); fault != nil {
				err = fmt.Errorf("%w: internal fault: %v", ErrUnavailable, fault)
			}
		}()
		return work(ctx)
	})
}

func (f *flights) enter(this *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.running[this] = struct{}{}
	f.wait.Add(1)
	return true
}

func (f *flights) leave(this *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, this)
	f.wait.Done()
}

// close ends all work and waits for it.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	for this := range f.running {
		this.cancel()
	}
	f.mu.Unlock()
	f.wait.Wait()
}
