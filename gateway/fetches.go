package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/krait-gateway/krait/bundle"
)

// errNoBundles refuses APIs with bundles when there is nowhere to have them from.
var errNoBundles = errors.New("custom_middleware_bundle is set, but bundles are not available; set enable_bundle_downloader in tyk.conf")

// fetched is a bundle that several users share; the last one releases it.
type fetched struct {
	references
	done   chan struct{} // closed when bundle and err are set
	bundle *bundle.Bundle
	err    error
}

// release counts a user out. It must come after done.
func (f *fetched) release() {
	if f.drop() && f.bundle != nil {
		f.bundle.Release()
	}
}

// fetches has each bundle fetched once for one set of API definitions: all of
// them then use the same version. It is safe for concurrent use.
type fetches struct {
	source Bundles // nil: there are none
	places *semaphore.Weighted
	log    *slog.Logger

	mu      sync.Mutex
	byName  map[string]*fetched
	running sync.WaitGroup
}

// all returns the bundles of those names, each counted, or the first error. ctx
// is that of the whole set: it ends the fetches.
func (f *fetches) all(ctx context.Context, names []string) ([]*fetched, error) {
	if len(names) > 0 && f.source == nil {
		return nil, errNoBundles
	}
	begun := make([]*fetched, 0, len(names))
	for _, name := range names {
		begun = append(begun, f.begin(ctx, name))
	}
	for i, one := range begun {
		select {
		case <-one.done:
		case <-ctx.Done():
			releaseAll(begun[:i])
			return nil, ctx.Err()
		}
		if one.err != nil {
			releaseAll(begun[:i])
			return nil, one.err
		}
		one.take()
	}
	return begun, nil
}

func releaseAll(list []*fetched) {
	for _, one := range list {
		one.release()
	}
}

func (f *fetches) begin(ctx context.Context, name string) *fetched {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.byName[name]; one != nil {
		return one
	}
	one := &fetched{done: make(chan struct{})}
	one.n.Store(1) // f itself, until close
	f.byName[name] = one
	f.running.Go(func() {
		defer close(one.done)
		one.bundle, one.err = f.fetch(ctx, name)
	})
	return one
}

func (f *fetches) fetch(ctx context.Context, name string) (b *bundle.Bundle, err error) {
	if err := f.places.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer f.places.Release(1)
	err = guarded(f.log, func() (err error) {
		b, err = f.source.Fetch(ctx, name)
		return err
	})
	return b, err
}

// close gives all bundles up that nobody else uses. The context of the fetches
// has ended, or all of them have.
func (f *fetches) close() {
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.byName {
		one.release()
	}
}
