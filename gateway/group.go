package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/krait-gateway/krait/telemetry"
)

const (
	// topicReload is the signal that has all gateways on one store reload.
	topicReload = "reload"
	// sourceGroup names that signal in the log.
	sourceGroup = "/tyk/reload/group"
	// signalTimeout bounds giving it.
	signalTimeout = 5 * time.Second
)

// subscribe hears signals of the group from now on. They are acted on once
// listen is called; forget ends both, and waits.
func (g *Gateway) subscribe(ctx context.Context) (listen, forget func()) {
	if g.signals == nil || g.source == nil {
		return func() {}, func() {}
	}
	signals, cancel := g.signals.Subscribe(ctx, topicReload)
	listen = func() {
		g.listening.Go(func() {
			defer cancel()
			for {
				select {
				case <-signals:
					_ = g.RequestReload(sourceGroup) // fails when the gateway is closed
				case <-g.closing:
					return
				}
			}
		})
	}
	return listen, cancel
}

// serveGroupReload answers GET /tyk/reload/group: it has all gateways on the
// same store reload, this one included, and does not wait for them.
func (g *Gateway) serveGroupReload(w http.ResponseWriter, r *http.Request) {
	if g.signals == nil || g.source == nil {
		g.answerReload(w, r, g.RequestReload(sourceGroup)) // a group of one
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), signalTimeout)
	defer cancel()
	err := g.signals.Signal(ctx, topicReload)
	if err != nil {
		g.log.Error("cannot have the group reload", telemetry.KeyError, err.Error())
	}
	g.answerReload(w, r, err)
}
