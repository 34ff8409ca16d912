package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"net/http"
	"strings"

	"github.com/krait-gateway/krait/config"
)

const (
	// headerAdmin carries the secret of tyk.conf.
	headerAdmin = "X-Tyk-Authorization"
	msgAdmin    = "Attempted administrative access with invalid or missing key!"
)

// adminRoutes is the gateway's own API below [config.AdminPath]. Each endpoint
// takes its path with and without a trailing slash.
func (g *Gateway) adminRoutes() *http.ServeMux {
	all := map[string]http.HandlerFunc{
		"GET /tyk/apis": g.serveStatus,

		"GET /tyk/reload":       g.serveReload,
		"GET /tyk/reload/group": g.serveGroupReload,

		"POST /tyk/keys":        g.createKey,
		"POST /tyk/keys/create": g.createKey,
		"GET /tyk/keys/{id}":    g.serveKey,
		"POST /tyk/keys/{id}":   g.addNamedKey,
		"PUT /tyk/keys/{id}":    g.changeKey,
		"DELETE /tyk/keys/{id}": g.deleteKey,
	}
	maps.Copy(all, g.definitionRoutes())
	routes := http.NewServeMux()
	for pattern, serve := range all {
		routes.HandleFunc(pattern, serve)
		routes.HandleFunc(pattern+"/{$}", serve)
	}
	return routes
}

// isAdminPath says whether the gateway itself answers path, before any API.
func isAdminPath(path string) bool {
	return path == config.AdminPath || strings.HasPrefix(path, config.AdminPath+"/")
}

// serveAdmin lets in who knows the secret of tyk.conf; without one, nobody.
func (g *Gateway) serveAdmin(w http.ResponseWriter, r *http.Request) {
	if !g.isAdmin(r) {
		adminError(w, r, http.StatusForbidden, msgAdmin)
		return
	}
	if _, pattern := g.admin.Handler(r); pattern != "" {
		g.admin.ServeHTTP(w, r)
		return
	}
	if methods := g.adminMethods(r); len(methods) > 0 {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		adminError(w, r, http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed))
		return
	}
	adminError(w, r, http.StatusNotFound, msgNotFound)
}

// adminMethods lists the methods that the endpoint at r's path has.
func (g *Gateway) adminMethods(r *http.Request) []string {
	var methods []string
	probe := *r
	for _, method := range [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe.Method = method
		if _, pattern := g.admin.Handler(&probe); pattern != "" {
			methods = append(methods, method)
		}
	}
	return methods
}

func (g *Gateway) isAdmin(r *http.Request) bool {
	if g.config.Secret == "" {
		return false
	}
	// Hashing first hides the length of the secret as well.
	want, got := sha256.Sum256([]byte(string(g.config.Secret))), sha256.Sum256([]byte(r.Header.Get(headerAdmin)))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// adminAnswer is how the gateway's own API says what came of a request.
type adminAnswer struct {
	Status  string `json:"status"` // ok or error
	Message string `json:"message"`
}

func adminError(w http.ResponseWriter, r *http.Request, code int, message string) {
	writeJSON(w, r, code, adminAnswer{Status: "error", Message: message})
}
