package gateway

import "net/http"

// States of an API on the status endpoint.
const (
	// APIActive says that the API serves requests.
	APIActive = "active"
	// APILoading says that the plugin code is still being loaded; until then
	// requests are answered with 503 and Retry-After.
	APILoading = "loading"
	// APIInactive says that the definition has active: false; its listen
	// path answers 404.
	APIInactive = "inactive"
	// APIRefused says that the API can't be served safely and answers every
	// request with 503; Reason says why.
	APIRefused = "refused"
)

// APIStatus is what became of one API definition.
type APIStatus struct {
	APIID      string `json:"api_id"`
	Name       string `json:"name"`
	OrgID      string `json:"org_id,omitempty"`
	ListenPath string `json:"listen_path"`
	Domain     string `json:"domain,omitempty"`
	// Status is APIActive, APILoading, APIInactive or APIRefused.
	Status string `json:"status"`
	// Reason says why the API is refused and what to do, or what is wrong with
	// an active one: an older version of its bundle is in service.
	Reason string `json:"reason,omitempty"`
	// Bundle and Driver are set for APIs with plugin code.
	Bundle string `json:"bundle,omitempty"`
	Driver string `json:"driver,omitempty"`
	// File is where the definition came from.
	File string `json:"file,omitempty"`
}

// APIs returns the state of every API definition that is loaded.
func (g *Gateway) APIs() []APIStatus {
	s := g.current.Load()
	if s == nil {
		return []APIStatus{}
	}
	out := make([]APIStatus, 0, len(s.apis))
	for _, one := range s.apis {
		out = append(out, one.describe())
	}
	return out
}

// serveStatus answers the status endpoint.
func (g *Gateway) serveStatus(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, g.APIs())
}
