package gateway

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/telemetry"
)

// errKept settles an API in whose place the one before is kept.
var errKept = errors.New("the same API is there already")

// plan is what one set of definitions leads to. Its slots are filled while the
// plan before still serves; [Gateway.arrange] then makes a snapshot of them.
type plan struct {
	slots   []*slot
	fetches *fetches
	// ctx is that of fetching; stop ends it.
	ctx     context.Context //nolint:containedctx // of the plan, not of a call
	stop    context.CancelFunc
	filling sync.WaitGroup
	// arranging: somebody waits to arrange the plan anew. complete: there is
	// nothing left to wait for; guarded by Gateway.mu.
	arranging atomic.Bool
	complete  bool
}

// slot is the place of one API definition.
type slot struct {
	loaded *apidef.Loaded
	// fresh is made from the definition, or kept from the slot before because
	// it was made from the same.
	fresh atomic.Pointer[api]
	// stale says why bundles on disk are used; it is set before fresh is
	// settled.
	stale string
	done  chan struct{} // closed when fresh is settled and final

	// Guarded by Gateway.mu.
	before   *slot  // of the plan before; nil once this plan serves
	old      *api   // what served before, counted; nil for nothing, or when it is not needed any more
	serving  *api   // fresh or old, as arranged
	held     []*api // what fresh is or was, each counted
	kept     bool
	reported string // what the log says already
}

// apiSource is all that an API is made from; equal ones make equal APIs.
type apiSource struct {
	file    string
	def     *apidef.API
	bundles []bundleSource
}

type bundleSource struct {
	name, dir  string
	middleware *apidef.CustomMiddleware
}

func newSource(a *api, bundles []*fetched) *apiSource {
	s := &apiSource{file: a.file, def: a.def}
	for _, one := range bundles {
		b := one.bundle
		s.bundles = append(s.bundles, bundleSource{name: b.Name, dir: b.Dir, middleware: &b.Manifest.CustomMiddleware})
	}
	return s
}

// newPlan begins to fetch and load what apis ask for. What has not changed since
// the plan before is kept.
func (g *Gateway) newPlan(apis []apidef.Loaded) (*plan, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	g.live.Add(1)
	p := &plan{fetches: &fetches{source: g.bundles, places: g.places, log: g.log, byName: make(map[string]*fetched)}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	ids := make(map[string]string)
	around := g.surroundings()
	for i := range apis {
		loaded := &apis[i]
		a := g.describe(loaded)
		s := &slot{loaded: loaded, done: make(chan struct{}), held: []*api{a}}
		s.fresh.Store(a)
		p.slots = append(p.slots, s)
		if loaded.API == nil {
			continue
		}
		switch first, twice := ids[a.id]; {
		case twice:
			a.refuse(fmt.Errorf("api_id %q is also the id of the API in %s; give each API its own id", a.id, first))
			continue
		case !a.active:
			a.settle(&apiState{status: APIInactive, reason: "active is false"})
		default:
			if err := loaded.API.Unserved(a.file, around); err != nil {
				a.refuse(err)
			}
		}
		ids[a.id] = a.file
	}
	p.follow(g.plan)
	for _, s := range p.slots {
		g.start(p, s)
	}
	return p, nil
}

// describe makes the API of a definition. One that could not be read is refused;
// when its listen path is known, requests there are answered with 503 instead
// of 404.
func (g *Gateway) describe(loaded *apidef.Loaded) *api {
	if def := loaded.API; def != nil {
		a := g.newAPI(def.ID, def.Name, loaded.File)
		a.def, a.orgID, a.active = def, def.OrgID, def.Active
		a.domain = normaliseHost(def.Domain)
		a.listenPath = decodedPath(def.Proxy.ListenPath)
		a.expiresAt = def.ExpiresAt
		a.bundles = strings.Join(def.Bundles, ",")
		return a
	}
	partial := apidef.Partial{}
	if loaded.Partial != nil {
		partial = *loaded.Partial
	}
	a := g.newAPI(partial.ID, partial.Name, loaded.File)
	a.orgID, a.active = partial.OrgID, partial.Active
	a.domain = normaliseHost(partial.Domain)
	a.listenPath = decodedPath(partial.ListenPath)
	if loaded.Err == nil {
		a.refuse(errors.New("the definition is empty"))
	} else {
		a.refuse(loaded.Err)
	}
	return a
}

// follow finds the slot before each one: that of the same API, and for files
// that do not tell which API they are about, that of the same file.
func (p *plan) follow(before *plan) {
	if before == nil {
		return
	}
	byID, byFile := make(map[string]*slot), make(map[string]*slot)
	for _, s := range before.slots {
		if a := s.serving; a != nil && a.active {
			if a.id != "" && byID[a.id] == nil {
				byID[a.id] = s
			}
			byFile[a.file] = s
		}
	}
	taken := make(map[*slot]bool)
	claim := func(s, one *slot) {
		if one != nil && !taken[one] {
			s.before, taken[one] = one, true
		}
	}
	for _, readable := range []bool{true, false} {
		for _, s := range p.slots {
			if id := s.fresh.Load().id; id != "" && (s.loaded.API != nil) == readable {
				claim(s, byID[id])
			}
		}
	}
	for _, s := range p.slots {
		if s.before == nil && s.loaded.API == nil && s.fresh.Load().id == "" {
			claim(s, byFile[s.loaded.File])
		}
	}
}

// start fills s, in the background unless that takes no time. The caller holds
// g.mu.
func (g *Gateway) start(p *plan, s *slot) {
	a := s.fresh.Load()
	select {
	case <-a.settled:
		g.warn(s)
		close(s.done)
		return
	default:
	}
	if len(a.def.Bundles) == 0 && s.keep(newSource(a, nil)) {
		if kept := s.fresh.Load(); kept.state.Load().status == APIActive {
			close(s.done)
			return
		}
	}
	p.filling.Go(func() {
		defer g.late(p)
		defer close(s.done)
		g.fill(p, s)
	})
}

// keep takes over what the slot before has, when that is made from source and
// is not refused. The caller holds Gateway.mu.
func (s *slot) keep(source *apiSource) bool {
	candidates := []*api{s.old}
	if s.before != nil {
		candidates = []*api{s.before.serving, s.before.fresh.Load()}
	}
	for _, a := range candidates {
		if a == nil || !reflect.DeepEqual(a.source.Load(), source) || a.state.Load().status == APIRefused || !a.take() {
			continue
		}
		s.held = append(s.held, a)
		s.kept = true
		s.fresh.Swap(a).refuse(errKept)
		return true
	}
	return false
}

// fill loads the API of s, or keeps the one before.
func (g *Gateway) fill(p *plan, s *slot) {
	if a := s.fresh.Load(); a.source.Load() == nil {
		if err := guarded(a.log, func() error { return g.fetchAndLoad(p, s, a) }); err != nil {
			a.refuse(err)
		}
	}
	select {
	case <-s.fresh.Load().settled:
	case <-p.ctx.Done():
	}
}

func (g *Gateway) fetchAndLoad(p *plan, s *slot, a *api) error {
	bundles, err := p.fetches.all(p.ctx, a.def.Bundles)
	if err != nil {
		g.warn(s)
		return err
	}
	defer releaseAll(bundles)
	source := newSource(a, bundles)
	s.stale = staleness(bundles)
	g.mu.Lock()
	kept := s.keep(source)
	g.mu.Unlock()
	if kept {
		return nil
	}
	g.warn(s)
	a.source.Store(source)
	return g.load(a, bundles)
}

// warn logs what the definition of s asks for in vain.
func (g *Gateway) warn(s *slot) {
	for _, warning := range s.loaded.Warnings {
		g.log.Warn("API definition asks for something in vain", telemetry.KeyFile, s.loaded.File, telemetry.KeyError, warning)
	}
}

// await returns when all slots are filled, at the latest after limit or when
// closing is closed.
func (p *plan) await(ctx context.Context, limit time.Duration, closing <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, s := range p.slots {
		select {
		case <-s.done:
		case <-ctx.Done():
			return
		case <-closing:
			return
		}
	}
}

// discard frees what p holds, in the background.
func (g *Gateway) discard(p *plan) {
	p.stop()
	go func() {
		defer g.live.Done()
		g.mu.Lock()
		for _, s := range p.slots {
			if s.old != nil {
				g.giveUp(s.old)
			}
			for _, a := range s.held {
				g.giveUp(a)
			}
			s.before, s.old, s.serving, s.held = nil, nil, nil, nil
		}
		g.mu.Unlock()
		p.filling.Wait()
		p.fetches.close()
	}()
}
