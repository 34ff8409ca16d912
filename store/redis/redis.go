package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/krait-gateway/krait/store"
)

// Store is a [store.Store] in Redis. Make one with [New].
type Store struct {
	client goredis.UniversalClient
	// gather sends what comes while an answer is awaited together.
	gather  *goredis.AutoPipeliner
	apart   int64        // Options.Apart
	calls   atomic.Int64 // that are under way
	timeout time.Duration
	closed  atomic.Bool
}

// New returns a store for opts. It checks opts, but does not connect.
func New(opts Options) (*Store, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("redis store: %w", err)
	}
	opts = opts.withDefaults()
	client := goredis.NewUniversalClient(opts.universal())
	gather, err := client.AutoPipeline()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("redis store: %w", err), client.Close())
	}
	return &Store{client: client, gather: gather, apart: int64(max(opts.Apart, 0)), timeout: opts.Timeout}, nil
}

// Client returns the client behind s, for commands that a [store.Store] does not
// have. It is closed with s; the caller must not close it.
func (s *Store) Client() goredis.UniversalClient { return s.client }

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	err := s.call(ctx, func(ctx context.Context, c goredis.Cmdable) (err error) {
		value, err = c.Get(ctx, key).Bytes()
		return err
	})
	if err != nil {
		return nil, opError("get", key, err)
	}
	return value, nil
}

// Set implements [store.Store].
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if value == nil {
		value = []byte{}
	}
	err := s.call(ctx, func(ctx context.Context, c goredis.Cmdable) error {
		return c.Set(ctx, key, value, expiration(ttl)).Err()
	})
	if err != nil {
		return opError("set", key, err)
	}
	return nil
}

// expiration turns a life time into what go-redis takes: 0 is no expiry there,
// but -1 keeps the key's old life time, and fractions of a millisecond are cut.
func expiration(ttl time.Duration) time.Duration {
	switch {
	case ttl <= 0:
		return 0
	case ttl < time.Millisecond:
		return time.Millisecond
	}
	return ttl
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	err := s.call(ctx, func(ctx context.Context, c goredis.Cmdable) error { return c.Del(ctx, key).Err() })
	if err != nil {
		return opError("delete", key, err)
	}
	return nil
}

// Ping implements [store.Store]: it asks the server, or a node of the cluster.
func (s *Store) Ping(ctx context.Context) error {
	err := s.call(ctx, func(ctx context.Context, _ goredis.Cmdable) error { return s.client.Ping(ctx).Err() })
	if err != nil {
		return fmt.Errorf("redis store: ping: %w", err)
	}
	return nil
}

// Close implements [store.Store].
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("redis store: close: %w", err)
	}
	return nil
}

// call runs do within the time limit of a call, and translates go-redis's errors
// into the ones of package store. When ctx is cancelled, as opposed to past its
// deadline, a command under way still waits for its answer, no longer than the
// time limit.
func (s *Store) call(ctx context.Context, do func(context.Context, goredis.Cmdable) error) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var commands goredis.Cmdable = s.client
	if s.calls.Add(1) > s.apart {
		commands = s.gather
	}
	defer s.calls.Add(-1)
	err := do(limited, commands)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, goredis.Nil):
		return store.ErrNotFound
	case errors.Is(err, goredis.ErrClosed):
		return store.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// opError says which operation failed on what kind of key.
func opError(op, key string, err error) error {
	return &keyError{op: op, key: key, err: err}
}

// keyError keeps the key out of its text, also where the server quotes it.
type keyError struct {
	op, key string
	err     error
}

func (e *keyError) Error() string {
	text := e.err.Error()
	// "ERR unknown command 'SET', with args beginning with: 'key' 'value'"
	// comes from servers where a command was renamed or disabled.
	text, _, _ = strings.Cut(text, ", with args beginning with")
	label := store.KeyLabel(e.key)
	if e.key != "" {
		text = strings.ReplaceAll(text, e.key, label)
	}
	return fmt.Sprintf("redis store: %s %s: %s", e.op, label, text)
}

func (e *keyError) Unwrap() error { return e.err }
