package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/telemetry"
)

// serialPlugin is plugin code that one request at a time goes through
// (krait.serial of the manifest): from before its first hook of this code to
// after the last one no other request calls it. So what pre leaves in a global
// variable is still there in response. That the driver lets in one call at a
// time besides keeps events and overdue hooks apart from them.
type serialPlugin struct {
	coprocess.Plugin
	bundle string
	// order says whose turn is taken first by a request that needs several,
	// so that no two requests wait for each other.
	order int64
	// limit is the time limit of one call.
	limit time.Duration
	turn  chan struct{} // holds a token while a request has the turn
}

// serialise wraps the plugin of code.
func (g *Gateway) serialise(plugin coprocess.Plugin, code coprocess.Code) *serialPlugin {
	return &serialPlugin{
		Plugin: plugin, bundle: code.Name, order: g.serialPlugins.Add(1),
		limit: cmp.Or(code.Timeout, time.Duration(g.config.CoprocessOptions.HookTimeout)),
		turn:  make(chan struct{}, 1),
	}
}

// take waits for the turn as long as a call waits for its place.
func (p *serialPlugin) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	ctx, stop := coprocess.WhileWaiting(ctx)
	defer stop()
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *serialPlugin) leave() { <-p.turn }

// serialChain is the serial plugins of one chain.
type serialChain struct {
	// plugins are those that any hook calls, in the order in which their turns
	// are taken.
	plugins []*serialPlugin
	// answering are those that response hooks call.
	answering []*serialPlugin
	// first is the hook that messages name.
	first *hook.Hook
}

func serialOf(c *chain) serialChain {
	collect := func(lists ...[]*hook.Hook) (found []*serialPlugin, first *hook.Hook) {
		for _, h := range slices.Concat(lists...) {
			p, ok := h.Dispatcher.(*serialPlugin)
			if ok && !slices.Contains(found, p) {
				found = append(found, p)
				first = cmp.Or(first, h)
			}
		}
		return found, first
	}
	var auth []*hook.Hook
	if c.authCheck != nil {
		auth = append(auth, c.authCheck)
	}
	var s serialChain
	s.plugins, s.first = collect(c.pre, auth, c.postKeyAuth, c.post, c.response)
	s.answering, _ = collect(c.response)
	slices.SortFunc(s.plugins, func(a, b *serialPlugin) int { return cmp.Compare(a.order, b.order) })
	return s
}

// takeTurns gives x the turn of every serial plugin of c. A request that a hook
// routed here keeps the turns that both APIs need and gives up the others. It
// may then hold a later one while it waits for an earlier one, which the limit
// of that wait resolves. The body of x is being buffered.
func (x *exchange) takeTurns(c *chain) *reply {
	x.endTurns(c.serial.plugins)
	if len(c.serial.plugins) == len(x.turns) {
		return nil
	}
	// A client that sends its body slowly must not keep the others waiting.
	if _, err := x.body.Load(x.r); err != nil {
		return x.hookReply(&hookFailure{hook: c.serial.first, err: err})
	}
	for _, p := range c.serial.plugins {
		if slices.Contains(x.turns, p) {
			continue
		}
		if err := p.take(x.r.Context()); err != nil {
			if x.clientGone() || !errors.Is(err, context.DeadlineExceeded) {
				return &reply{dropped: true}
			}
			x.log.Warn("request waited too long for others in a serial bundle, it is refused", telemetry.KeyBundle, p.bundle)
			return &reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy}
		}
		x.turns = append(x.turns, p)
	}
	return nil
}

// endTurns gives up all turns but those of kept.
func (x *exchange) endTurns(kept []*serialPlugin) {
	x.turns = slices.DeleteFunc(x.turns, func(p *serialPlugin) bool {
		if slices.Contains(kept, p) {
			return false
		}
		p.leave()
		return true
	})
}
