package store

import (
	"context"
	"errors"
	"time"
)

// Errors that every [Store] returns, wrapped with the operation and the key's
// label. Tell them apart with errors.Is.
var (
	// ErrNotFound says that nothing is stored under the key, or that it has
	// expired.
	ErrNotFound = errors.New("key not found")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge says that a value can't be stored because it alone exceeds
	// the store's limit.
	ErrTooLarge = errors.New("value is larger than the store's limit")
)

// Store keeps values under keys. When ctx has ended, every method but Close
// returns an error that wraps ctx.Err(). A Store also bounds by itself how long
// a call waits, seconds at most: requests wait for it.
type Store interface {
	// Get returns the value under key, or [ErrNotFound]. The slice is the
	// caller's own and never nil without an error.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set stores a copy of value under key, with the life time ttl in place of
	// whatever life time the key had. A ttl of 0 or less means no expiry; the
	// resolution is a millisecond, and shorter life times count as one.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Delete removes key. A key that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Ping says whether the store can serve.
	Ping(ctx context.Context) error
	// Close frees what the store holds; later calls return [ErrClosed]. A
	// second Close does nothing.
	Close() error
}
