package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/telemetry"
)

// api is what was made of one API definition. Its route is there from the
// start; its state is set once, when loading has ended. It may serve in many
// snapshots one after the other: a reload keeps what has not changed.
type api struct {
	// references are its users: slots, snapshots, and requests that no longer
	// need the whole snapshot.
	references
	id, name, orgID string
	listenPath      string // decoded
	domain          string // normalised
	file            string
	active          bool
	bundles         string
	expiresAt       time.Time // zero: never
	log             *slog.Logger

	def *apidef.API // nil when it could not be read
	// source is what it is made from, set before loading begins.
	source atomic.Pointer[apiSource]
	// loading ends with unload; parts frees what loading took, the last
	// first. It is complete once settled is closed.
	loading context.Context //nolint:containedctx // of the loading, not of a call
	unload  context.CancelFunc
	parts   []func()

	state   atomic.Pointer[apiState]
	settled chan struct{} // closed when state is final
	once    sync.Once     // settles
	trouble sparing       // with the session store
	// uncounted and unreadable are about limits and access rights of sessions.
	uncounted, unreadable sparing
	// unapplied is about policies of sessions.
	unapplied sparing
}

// apiState is what became of loading an API. chain is nil unless the API
// serves; reason then says why.
type apiState struct {
	status string
	reason string
	driver string
	chain  *chain
	// handlers handle events of this API.
	handlers event.Handlers
}

// newAPI returns an API with one user, that is still to be settled. live counts
// it until all it took is freed.
func (g *Gateway) newAPI(id, name, file string) *api {
	a := &api{id: id, name: name, file: file, settled: make(chan struct{})}
	a.log = g.log.With(telemetry.KeyAPIID, id, telemetry.KeyAPIName, name)
	a.state.Store(&apiState{status: APILoading, reason: "plugin code is being loaded"})
	a.loading, a.unload = context.WithCancel(context.Background())
	a.n.Store(1)
	g.live.Add(1)
	return a
}

// giveUp counts a user of a out. After the last one, what a took is freed.
func (g *Gateway) giveUp(a *api) {
	if !a.drop() {
		return
	}
	a.unload()
	go func() {
		defer g.live.Done()
		<-a.settled
		for _, free := range slices.Backward(a.parts) {
			free()
		}
	}()
}

// settle ends loading.
func (a *api) settle(s *apiState) {
	a.once.Do(func() {
		a.state.Store(s)
		close(a.settled)
	})
}

// refuse ends loading with an API that cannot serve (contract section 3).
func (a *api) refuse(reason error) {
	a.settle(&apiState{status: APIRefused, reason: reason.Error()})
}

// chain returns how requests are served, or nil when they are not.
func (a *api) chain() *chain { return a.state.Load().chain }
