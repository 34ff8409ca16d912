package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/krait-gateway/krait/config"
)

// Health statuses, as the reference and draft-inadarei-api-health-check name
// them.
const (
	statusPass = "pass"
	statusWarn = "warn"
	statusFail = "fail"
)

const (
	// checkTimeout bounds one health check.
	checkTimeout = 2 * time.Second
	// checkTTL is how long an outcome is served again, so that probes can't
	// load the components they ask about.
	checkTTL = 500 * time.Millisecond
	// healthDescription names the product in health answers.
	healthDescription  = "krait gateway"
	componentDatastore = "datastore"
	componentSystem    = "system"
	unknownVersion     = "unknown"
)

// Check asks one component how it is.
type Check struct {
	// Name is the member of "details", for example "redis".
	Name string
	// ComponentType is "datastore" or "system"; empty means "system".
	ComponentType string
	// Func returns a text to show, such as versions. An error means that the
	// component is failing. It is called with a time limit and must be safe
	// for concurrent use.
	Func func(ctx context.Context) (output string, err error)
}

// Health is the answer of the health endpoint.
type Health struct {
	// Status is pass; warn when something is failing or an API is refused;
	// fail when every check fails.
	Status      string                     `json:"status"`
	Version     string                     `json:"version"`
	Description string                     `json:"description"`
	Output      string                     `json:"output,omitempty"`
	Details     map[string]ComponentHealth `json:"details,omitempty"`
}

// ComponentHealth is one member of [Health].Details.
type ComponentHealth struct {
	Status        string `json:"status"`
	Output        string `json:"output,omitempty"`
	ComponentType string `json:"componentType"`
	Time          string `json:"time"` // RFC 3339
}

// health runs the checks and keeps the outcome for a moment.
type health struct {
	checks []Check

	mu      sync.Mutex
	details map[string]ComponentHealth
	until   time.Time
}

// Health asks all components, each with a time limit.
func (g *Gateway) Health(ctx context.Context) Health {
	h := Health{
		Status: statusPass, Version: g.version, Description: healthDescription,
		Details: g.health.run(ctx),
	}
	failing := 0
	for _, c := range h.Details {
		if c.Status == statusFail {
			failing++
		}
	}
	refused := 0
	for _, a := range g.APIs() {
		if a.Status == APIRefused {
			refused++
		}
	}
	if refused > 0 {
		// Which ones and why is for operators only; anybody can ask here.
		h.Output = fmt.Sprintf("%d APIs are refused, see the log or %s", refused, config.StatusPath)
	}
	switch {
	case failing > 0 && failing == len(h.Details):
		h.Status = statusFail
	case failing > 0 || refused > 0:
		h.Status = statusWarn
	}
	return h
}

func (h *health) run(ctx context.Context) map[string]ComponentHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.until) {
		return h.details
	}
	results := make([]ComponentHealth, len(h.checks))
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() { results[i] = c.run(ctx) })
	}
	wg.Wait()
	details := make(map[string]ComponentHealth, len(results))
	for i, c := range h.checks {
		details[c.Name] = results[i]
	}
	h.details, h.until = details, time.Now().Add(checkTTL)
	return details
}

func (c Check) run(ctx context.Context) ComponentHealth {
	// A prober that hangs up must not make the component look broken.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	out := ComponentHealth{Status: statusPass, ComponentType: c.ComponentType}
	if out.ComponentType == "" {
		out.ComponentType = componentSystem
	}
	output, err := c.Func(ctx)
	out.Output = output
	if err != nil {
		out.Status, out.Output = statusFail, err.Error()
	}
	out.Time = time.Now().Format(time.RFC3339)
	return out
}

// serveHealth answers the health endpoint. The code is 200 in every state, as
// in the reference: probes of the process must not restart it because Redis
// is away.
func (g *Gateway) serveHealth(w *responseWriter, r *http.Request, id string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		errorReply(http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)).write(w, r, id)
		return
	}
	w.Header().Set(headerRequestID, id)
	writeJSON(w, r, http.StatusOK, g.Health(r.Context()))
}

func writeJSON(w http.ResponseWriter, r *http.Request, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		// The client may be gone; there is nobody to tell.
		_, _ = w.Write(jsonBody(v))
	}
}
