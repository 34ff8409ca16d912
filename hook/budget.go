package hook

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes that the bodies of many requests take together while
// they are buffered. It is safe for concurrent use.
type Budget struct {
	size int64
	wait time.Duration
	free *semaphore.Weighted
}

// NewBudget returns a Budget of size bytes. A body that finds no room waits for
// it at most for wait.
func NewBudget(size int64, wait time.Duration) *Budget {
	return &Budget{size: size, wait: wait, free: semaphore.NewWeighted(size)}
}

// BudgetError says that the bodies being buffered leave no room for another
// one. The reply is 503, to be tried again.
type BudgetError struct {
	// Size is what all bodies together may take, in bytes.
	Size int64
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("bodies that are buffered for hooks have reached %d bytes together; there is no room for this one", e.Size)
}

// reservation is the part of a Budget that one body holds. The zero value has
// no budget and no bound.
type reservation struct {
	budget *Budget
	held   int64
}

// grow makes the reservation at least n bytes.
func (r *reservation) grow(ctx context.Context, n int64) error {
	if r.budget == nil || n <= r.held {
		return nil
	}
	more := n - r.held
	if !r.budget.free.TryAcquire(more) {
		ctx, cancel := context.WithTimeout(ctx, r.budget.wait)
		defer cancel()
		if err := r.budget.free.Acquire(ctx, more); err != nil {
			return &BudgetError{Size: r.budget.size}
		}
	}
	r.held = n
	return nil
}

func (r *reservation) release() {
	if r.held > 0 {
		r.budget.free.Release(r.held)
		r.held = 0
	}
}
