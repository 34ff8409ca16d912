package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/krait-gateway/krait/store"
)

var _ store.Signals = (*Store)(nil)

// subscribers are the channels to wake, by topic. The zero value has none.
type subscribers struct {
	mu      sync.Mutex
	byTopic map[string]map[chan struct{}]struct{}
}

// Signal implements [store.Signals]; all subscribers are in this process.
func (s *Store) Signal(ctx context.Context, topic string) error {
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("memory store: signal %s: %w", topic, err)
	}
	s.subscribers.mu.Lock()
	defer s.subscribers.mu.Unlock()
	for c := range s.subscribers.byTopic[topic] {
		select {
		case c <- struct{}{}:
		default: // an element is waiting already
		}
	}
	return nil
}

// Subscribe implements [store.Signals].
func (s *Store) Subscribe(_ context.Context, topic string) (signals <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	all := &s.subscribers
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byTopic == nil {
		all.byTopic = make(map[string]map[chan struct{}]struct{})
	}
	if all.byTopic[topic] == nil {
		all.byTopic[topic] = make(map[chan struct{}]struct{})
	}
	all.byTopic[topic][c] = struct{}{}
	return c, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		delete(all.byTopic[topic], c)
	}
}
