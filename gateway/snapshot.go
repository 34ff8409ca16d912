package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bundle"
)

// snapshot is one complete set of APIs with their routes and plugins. Its
// routes never change; [Gateway.Load] builds a new snapshot and swaps it in. It
// counts the requests it serves, so that its plugins are closed only after the
// last one.
type snapshot struct {
	router router
	apis   []*api
	byID   map[string]*api // active APIs

	// loads are the goroutines that load plugin code; stop ends their context.
	loads sync.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex
	shared  map[string]*sharedPlugin
	plugins []coprocess.Plugin
	bundles []*bundle.Bundle

	// users is the number of requests plus one for being current.
	users atomic.Int64
	idle  chan struct{} // closed when users reaches 0
}

func newSnapshot(stop context.CancelFunc) *snapshot {
	s := &snapshot{
		byID: make(map[string]*api), shared: make(map[string]*sharedPlugin),
		stop: stop, idle: make(chan struct{}),
	}
	s.users.Store(1)
	return s
}

// acquire counts a request in. It fails when the snapshot is already idle for
// good; the caller then takes the current one.
func (s *snapshot) acquire() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release counts a request out, or ends being current.
func (s *snapshot) release() {
	if s.users.Add(-1) == 0 {
		close(s.idle)
	}
}

// keepPlugin and keepBundle hand over what close frees.
func (s *snapshot) keepPlugin(p coprocess.Plugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugins = append(s.plugins, p)
}

func (s *snapshot) keepBundle(b *bundle.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundles = append(s.bundles, b)
}

// await returns when all plugin code is loaded, at the latest after limit.
func (s *snapshot) await(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, a := range s.apis {
		select {
		case <-a.settled:
		case <-ctx.Done():
			return
		}
	}
}

// close ends what is still loading and frees plugins, bundles and connections.
// It must be called once, when no request uses the snapshot.
func (s *snapshot) close() error {
	s.stop()
	s.loads.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	for _, p := range s.plugins {
		if err := p.Close(); err != nil {
			faults = append(faults, err)
		}
	}
	for _, b := range s.bundles {
		b.Release()
	}
	for _, a := range s.apis {
		if c := a.chain(); c != nil {
			c.upstream.transports.close()
		}
	}
	return errors.Join(faults...)
}
