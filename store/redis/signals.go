package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/krait-gateway/krait/store"
)

const (
	// pollEvery is how often the last signal is looked at when nothing was
	// published. It finds what a lost connection swallowed.
	pollEvery = 2 * time.Second
	// firstLook bounds the look at what the last signal is before Subscribe.
	firstLook = time.Second
)

var _ store.Signals = (*Store)(nil)

// Signal implements [store.Signals]. Every signal is a new random text under
// the topic's key; subscribers compare it with the one they know. What is
// published besides only makes them look at once: where the server does not
// let this user publish, they look every two seconds.
func (s *Store) Signal(ctx context.Context, topic string) error {
	key := store.SignalKeyPrefix + topic
	err := s.call(ctx, func(ctx context.Context, _ goredis.Cmdable) error {
		if err := s.client.Set(ctx, key, rand.Text(), 0).Err(); err != nil {
			return err
		}
		var refused goredis.Error
		if err := s.client.Publish(ctx, key, "").Err(); err != nil && !errors.As(err, &refused) {
			return err
		}
		return nil
	})
	if err != nil {
		return opError("signal", key, err)
	}
	return nil
}

// Subscribe implements [store.Signals].
func (s *Store) Subscribe(ctx context.Context, topic string) (signals <-chan struct{}, cancel func()) {
	sub := &subscription{store: s, key: store.SignalKeyPrefix + topic, signals: make(chan struct{}, 1)}
	look, done := context.WithTimeout(ctx, firstLook)
	sub.last, sub.known = sub.look(look)
	done()
	running, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { sub.run(running) })
	return sub.signals, func() {
		stop()
		ended.Wait()
	}
}

// subscription belongs to its goroutine.
type subscription struct {
	store   *Store
	key     string
	signals chan struct{}
	last    string // the signal that was seen last
	known   bool   // whether last says anything
}

// look returns the topic's last signal, "" when there was none.
func (sub *subscription) look(ctx context.Context) (last string, ok bool) {
	value, err := sub.store.Get(ctx, sub.key)
	return string(value), err == nil || errors.Is(err, store.ErrNotFound)
}

// run wakes the subscriber until ctx ends or the store is closed.
func (sub *subscription) run(ctx context.Context) {
	published := sub.store.client.Subscribe(ctx, sub.key)
	// Receiving does not end with ctx. An error of closing changes nothing.
	defer context.AfterFunc(ctx, func() { _ = published.Close() })()
	defer func() { _ = published.Close() }()
	for ctx.Err() == nil && !sub.store.closed.Load() {
		began := time.Now()
		_, err := published.ReceiveTimeout(ctx, pollEvery)
		// Any message makes it look, the confirmation of a new subscription
		// as well: there may have been signals in between.
		if last, ok := sub.look(ctx); ok {
			if !sub.known || last != sub.last {
				sub.wake()
			}
			sub.last, sub.known = last, true
		}
		if err != nil {
			pause(ctx, pollEvery-time.Since(began)) // as long as without an error
		}
	}
}

func (sub *subscription) wake() {
	select {
	case sub.signals <- struct{}{}:
	default: // an element is waiting already
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
