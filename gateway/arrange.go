package gateway

import (
	"fmt"
	"slices"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/telemetry"
)

// eventGrace bounds how long replaced plugin code waits for events that were
// fired while it served; one handler gets 10 s.
const eventGrace = 30 * time.Second

// Ranks of what serves for a definition: who comes first keeps a listen path.
const (
	rankNewest = iota // usable, or about to be; or before where the newest wants to be
	rankBefore        // what served before, where the newest does not want to be any more
	rankRefused
	ranks
)

// install makes p what the gateway serves, and returns the plan before. The
// caller holds g.mu.
func (g *Gateway) install(p *plan) (before *plan) {
	for _, s := range p.slots {
		if s.before == nil {
			continue
		}
		if a := s.before.serving; a != nil && a.chain() != nil && a.take() {
			s.old = a
		}
		s.before = nil
	}
	before, g.plan = g.plan, p
	g.arrange()
	return before
}

// late arranges p anew when one of its slots was filled after p was installed.
func (g *Gateway) late(p *plan) {
	if p.arranging.Swap(true) {
		return // the other one will see this slot too
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p.arranging.Store(false)
	if g.plan == p && !p.complete {
		g.arrange()
	}
}

// arrange makes a snapshot of the current plan and swaps it in. The caller holds
// g.mu.
func (g *Gateway) arrange() {
	p := g.plan
	p.complete = true
	next := newSnapshot()
	chosen := make([]served, len(p.slots))
	rank := make([]int, len(p.slots))
	for i, s := range p.slots {
		select {
		case <-s.done:
		default:
			p.complete = false
		}
		chosen[i], rank[i] = s.choose()
	}
	for r := range ranks {
		for i := range chosen {
			if rank[i] == r && !next.enter(&chosen[i]) && r == rankBefore {
				// Its newest version may ask for another path, which must not
				// go to whatever listens above it.
				chosen[i], rank[i] = p.slots[i].outdone(chosen[i].reason), rankRefused
			}
		}
	}
	for i, s := range p.slots {
		s.serving = nil
		if chosen[i].status != APIRefused {
			s.serving = chosen[i].api
		}
		next.keep(chosen[i])
		g.report(s, chosen[i])
		g.settleOld(s)
	}
	g.live.Add(1)
	old := g.current.Swap(next)
	g.retire(old, g.events.Configure(next.handlers()))
}

// settleOld lets go of what served before s once that is not needed any more.
func (g *Gateway) settleOld(s *slot) {
	select {
	case <-s.done:
	default:
		return // it may still be needed
	}
	if s.old != nil && (s.old != s.serving || s.old == s.fresh.Load()) {
		g.giveUp(s.old)
		s.old = nil
	}
}

// choose says what serves for the definition of s.
func (s *slot) choose() (served, int) {
	a := s.fresh.Load()
	state := a.state.Load()
	reason := state.reason
	switch {
	case state.chain != nil:
		return served{a, APIActive, s.stale}, rankNewest
	case state.status == APIInactive:
		return served{a, APIInactive, reason}, rankRefused
	case s.old != nil && (a.active || s.loaded.Partial == nil && s.loaded.API == nil):
		why := s.obstacle()
		if why == "" && state.status == APILoading {
			return served{s.old, APIActive, "the version before is in service until the newest has loaded"}, s.rankOfOld()
		}
		if why == "" {
			return served{s.old, APIActive, "the version before is in service, because the newest cannot be: " + reason}, s.rankOfOld()
		}
		reason += "; the version before is not served instead, because " + why
	}
	if state.status == APILoading {
		return served{a, APILoading, reason}, rankNewest
	}
	return served{a, APIRefused, reason}, rankRefused
}

// rankOfOld is the rank of what served before, when it stays. It keeps its listen
// path for as long as nothing that can be read asks for another one: a fault in
// a file must not open its path to a second API that asks for the same.
func (s *slot) rankOfOld() int {
	a := s.fresh.Load()
	if a.listenPath == "" || a.listenPath == s.old.listenPath && a.domain == s.old.domain {
		return rankNewest
	}
	return rankBefore
}

// outdone is what serves for the definition of s when what served before has
// lost its listen path for reason.
func (s *slot) outdone(reason string) served {
	a := s.fresh.Load()
	return served{a, APIRefused, a.state.Load().reason + "; the version before is not served instead, because " + reason}
}

// obstacle says why what served before must not stay in the place of what the
// definition asks for now, "" when it may: nothing that can be read of the
// definition may ask for other protection than is there.
func (s *slot) obstacle() string {
	asked := s.loaded.API
	if partial := s.loaded.Partial; asked == nil && partial != nil {
		if partial.Unsupported {
			return "the newest definition asks for a protection that is not supported"
		}
		asked = partial.Asked
	}
	if asked == nil {
		return "" // half a file says nothing
	}
	old := s.old.def
	if field := old.OtherProtection(asked); field != "" {
		return "the newest definition asks for other protection (" + field + ")"
	}
	if asksForMorePlugins(old, asked) {
		return "the newest definition asks for more plugin code, which may protect"
	}
	return ""
}

// asksForMorePlugins says whether asked names more bundles than old, or without
// a bundle a hook that old does not run.
func asksForMorePlugins(old, asked *apidef.API) bool {
	if n := len(asked.Bundles); n > 0 || len(old.Bundles) > 0 {
		return n > len(old.Bundles)
	}
	mine, other := &old.CustomMiddleware, &asked.CustomMiddleware
	for _, lists := range [...][2][]apidef.MiddlewareDefinition{
		{mine.Pre, other.Pre}, {mine.PostKeyAuth, other.PostKeyAuth}, {mine.Post, other.Post}, {mine.Response, other.Response},
	} {
		runs := make(map[string]bool)
		for _, hook := range lists[0] {
			runs[hook.Name] = runs[hook.Name] || hook.Runs()
		}
		if slices.ContainsFunc(lists[1], func(hook apidef.MiddlewareDefinition) bool { return hook.Runs() && !runs[hook.Name] }) {
			return true
		}
	}
	return false
}

// enter adds the route of one. Without a listen path there is none; where it is
// taken, one is refused and the result is false.
func (s *snapshot) enter(one *served) bool {
	a := one.api
	if !a.active || a.listenPath == "" {
		return true
	}
	if other := s.router.add(a); other != nil {
		if one.status != APIRefused {
			*one = served{a, APIRefused, fmt.Sprintf(
				"listen_path %q is also the listen path of API %q; give each API its own listen_path or domain", a.listenPath, other.id)}
		}
		return false
	}
	if _, taken := s.byID[a.id]; !taken && a.def != nil {
		s.byID[a.id] = a
	}
	return true
}

// handlers returns what handles the events of the APIs in s.
func (s *snapshot) handlers() map[string]event.API {
	apis := make(map[string]event.API)
	for id, a := range s.byID {
		if handlers := a.state.Load().handlers; len(handlers) > 0 {
			apis[id] = event.API{OrgID: a.orgID, Handlers: handlers}
		}
	}
	return apis
}

// report logs what became of a definition, once.
func (g *Gateway) report(s *slot, one served) {
	text := one.status + one.reason
	if s.reported == text {
		return
	}
	s.reported = text
	a := one.api
	about := []any{
		telemetry.KeyFile, a.file, telemetry.KeyListenPath, a.listenPath, telemetry.KeyBundle, a.bundles, telemetry.KeyError, one.reason,
	}
	switch {
	case one.status == APIRefused:
		a.log.Error("API is refused, every request to it is answered with 503", about...)
	case a != s.fresh.Load() && s.fresh.Load().state.Load().status == APILoading:
		a.log.Info("API is still loading its newest version, the one before stays in service", about...)
	case a != s.fresh.Load():
		a.log.Error("API cannot be brought up to date, the version before stays in service", about...)
	case one.status == APIActive && !s.kept:
		a.log.Info("API is served", telemetry.KeyListenPath, a.listenPath, telemetry.KeyHost, a.domain,
			telemetry.KeyTarget, a.def.Proxy.TargetURL.Redacted(), telemetry.KeyBundle, a.bundles)
	}
}

// retire gives the APIs of s up when its last request has ended and the events
// that were fired meanwhile are handled.
func (g *Gateway) retire(s *snapshot, handled <-chan struct{}) {
	if s == nil {
		return
	}
	s.release()
	go func() {
		defer g.live.Done()
		<-s.idle
		grace := time.NewTimer(eventGrace)
		defer grace.Stop()
		select {
		case <-handled:
		case <-grace.C:
		case <-g.closing:
		}
		for _, one := range s.apis {
			g.giveUp(one.api)
		}
	}()
}
