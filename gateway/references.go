package gateway

import "sync/atomic"

// references counts the users of something that is freed after the last one.
type references struct{ n atomic.Int64 }

// take counts a user in. It fails when the last one has gone: what was counted
// is then being freed, or is free.
func (r *references) take() bool {
	for {
		n := r.n.Load()
		if n == 0 {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop counts a user out and reports whether it was the last one.
func (r *references) drop() (last bool) { return r.n.Add(-1) == 0 }
