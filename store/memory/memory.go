package memory

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/krait-gateway/krait/store"
)

const (
	// DefaultMaxBytes is the bound when [Options.MaxBytes] is 0: 256 MiB.
	DefaultMaxBytes = 256 << 20
	// entryOverhead is what an entry costs besides its key and value: the
	// cache's node, the slice header, its share of the hash table.
	entryOverhead = 128
	// warnEvery is how often evictions are logged at most.
	warnEvery = time.Minute
	// forever stands for no expiry; the cache adds it with saturation.
	forever = time.Duration(math.MaxInt64)
)

// Options are the settings of a [Store]; the zero value is ready for use.
type Options struct {
	// MaxBytes bounds the weight of all entries together, see the package
	// documentation. 0 means [DefaultMaxBytes].
	MaxBytes int64
	// Logger gets the warnings about evictions; nil means none are logged.
	Logger *slog.Logger
	// Now tells the time; nil means the process's monotonic clock. For tests.
	Now func() time.Time
}

// Store is a [store.Store] in memory. Make one with [New].
type Store struct {
	cache    *otter.Cache[string, entry]
	maxBytes int64
	logger   *slog.Logger
	closed   atomic.Bool
	evicted  atomic.Uint64
	warned   atomic.Uint64 // evictions that the last warning told of
	nextWarn atomic.Int64  // Unix nanoseconds

	subscribers subscribers
}

type entry struct {
	value []byte
	ttl   time.Duration // forever, or positive
}

// New returns an empty store.
func New(opts Options) (*Store, error) {
	if opts.MaxBytes < 0 {
		return nil, fmt.Errorf("memory store: a limit of %d bytes is not possible: use a positive number, or 0 for %d", opts.MaxBytes, DefaultMaxBytes)
	}
	s := &Store{maxBytes: opts.MaxBytes, logger: opts.Logger}
	if s.maxBytes == 0 {
		s.maxBytes = DefaultMaxBytes
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	o := &otter.Options[string, entry]{
		MaximumWeight: uint64(s.maxBytes),
		Weigher: func(key string, e entry) uint32 {
			return uint32(min(weight(key, e.value), math.MaxUint32))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, entry]) time.Duration {
			return e.Value.ttl
		}),
		OnAtomicDeletion: func(e otter.DeletionEvent[string, entry]) {
			if e.Cause == otter.CauseOverflow {
				s.evicted.Add(1)
			}
		},
	}
	if opts.Now != nil {
		o.Clock = clock(opts.Now)
	}
	cache, err := otter.New(o)
	if err != nil {
		return nil, fmt.Errorf("memory store: %w", err)
	}
	s.cache = cache
	return s, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.usable(ctx); err != nil {
		return nil, opError("get", key, err)
	}
	e, ok := s.cache.GetIfPresent(key)
	if !ok {
		return nil, opError("get", key, store.ErrNotFound)
	}
	return append([]byte{}, e.value...), nil
}

// Set implements [store.Store]. A value that alone exceeds the bound is refused
// with [store.ErrTooLarge], and what was stored under key stays.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.usable(ctx); err != nil {
		return opError("set", key, err)
	}
	if w := weight(key, value); w > s.maxBytes {
		return opError("set", key, fmt.Errorf("%d of %d bytes: %w", w, s.maxBytes, store.ErrTooLarge))
	}
	switch {
	case ttl <= 0:
		ttl = forever
	case ttl < time.Millisecond:
		ttl = time.Millisecond
	}
	s.cache.Set(key, entry{value: append([]byte{}, value...), ttl: ttl})
	s.warnOfEvictions()
	return nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.usable(ctx); err != nil {
		return opError("delete", key, err)
	}
	s.cache.Invalidate(key)
	return nil
}

// Ping implements [store.Store].
func (s *Store) Ping(ctx context.Context) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("memory store: ping: %w", err)
	}
	return nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cache.StopAllGoroutines()
	s.cache.InvalidateAll()
	return nil
}

// Evicted returns how many entries were removed before their time to stay within
// [Options.MaxBytes].
func (s *Store) Evicted() uint64 { return s.evicted.Load() }

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// warnOfEvictions is called by writers and not by the cache's eviction handler:
// that one runs under the cache's locks.
func (s *Store) warnOfEvictions() {
	evicted := s.evicted.Load()
	if evicted == s.warned.Load() {
		return
	}
	now, next := time.Now(), s.nextWarn.Load()
	if now.UnixNano() < next || !s.nextWarn.CompareAndSwap(next, now.Add(warnEvery).UnixNano()) {
		return
	}
	s.warned.Store(evicted)
	s.logger.Warn("memory store is full: entries were evicted before they expired; raise its limit or use Redis",
		"evicted_total", evicted, "max_bytes", s.maxBytes)
}

func weight(key string, value []byte) int64 {
	return int64(len(key)) + int64(len(value)) + entryOverhead
}

func opError(op, key string, err error) error {
	return fmt.Errorf("memory store: %s %s: %w", op, store.KeyLabel(key), err)
}

// clock makes a time function the cache's clock. It does not tick: expired
// entries go when they are noticed.
type clock func() time.Time

func (c clock) NowNano() int64 { return c().UnixNano() }

func (clock) Tick(time.Duration) <-chan time.Time { return nil }
