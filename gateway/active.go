package gateway

import (
	"context"
	"sync"
)

// activity counts the requests that are being served, upgraded connections
// included. It is safe for concurrent use.
type activity struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // made by wait, closed when n reaches 0
}

func (a *activity) begin() {
	a.mu.Lock()
	a.n++
	a.mu.Unlock()
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n--
	if a.n == 0 && a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
}

func (a *activity) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// wait returns when nothing is being served, or the error of ctx.
func (a *activity) wait(ctx context.Context) error {
	a.mu.Lock()
	if a.n == 0 {
		a.mu.Unlock()
		return nil
	}
	if a.empty == nil {
		a.empty = make(chan struct{})
	}
	empty := a.empty
	a.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
