package gateway

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/telemetry"
)

// api is one API definition in a snapshot. Its route is there from the start;
// its state is set once, when loading has ended.
type api struct {
	id, name, orgID string
	listenPath      string // decoded
	domain          string // normalised
	file            string
	active          bool
	bundles         string
	expiresAt       time.Time // zero: never
	log             *slog.Logger

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

func newAPI(log *slog.Logger, id, name, file string) *api {
	a := &api{id: id, name: name, file: file, settled: make(chan struct{})}
	a.log = log.With(telemetry.KeyAPIID, id, telemetry.KeyAPIName, name)
	a.state.Store(&apiState{status: APILoading, reason: "plugin code is being loaded"})
	return a
}

// settle ends loading.
func (a *api) settle(s *apiState) {
	a.once.Do(func() {
		a.state.Store(s)
		close(a.settled)
	})
}

// refuse ends loading with an API that answers 503 (contract section 3).
func (a *api) refuse(reason error) {
	a.log.Error("API is refused, every request to it is answered with 503",
		telemetry.KeyFile, a.file, telemetry.KeyListenPath, a.listenPath,
		telemetry.KeyBundle, a.bundles, telemetry.KeyError, reason.Error())
	a.settle(&apiState{status: APIRefused, reason: reason.Error()})
}

// chain returns how requests are served, or nil when they are not.
func (a *api) chain() *chain { return a.state.Load().chain }

func (a *api) status() APIStatus {
	s := a.state.Load()
	return APIStatus{
		APIID: a.id, Name: a.name, OrgID: a.orgID, ListenPath: a.listenPath, Domain: a.domain,
		Status: s.status, Reason: s.reason, Bundle: a.bundles, Driver: s.driver, File: a.file,
	}
}
