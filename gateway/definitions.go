package gateway

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/telemetry"
)

// Messages of the definition endpoints.
const (
	msgAPINotFound   = "API not found" // the reference's words
	msgNoDefinitions = "this gateway does not keep API definitions in files"
	msgDefinitionIO  = "the API definitions cannot be read or written; the log says why"
)

var errNoBody = errors.New("the definition did not arrive")

// definitionAnswer says what was done to a definition. It takes effect with the
// next reload.
type definitionAnswer struct {
	Key    string `json:"key"`
	Status string `json:"status"`
	Action string `json:"action"` // added, modified or deleted
	// Warnings names what the definition asks for in vain.
	Warnings []string `json:"warnings,omitempty"`
}

// definitionRoutes are the endpoints for API definitions. Those below oas take
// and show the OAS form only.
func (g *Gateway) definitionRoutes() map[string]http.HandlerFunc {
	routes := map[string]http.HandlerFunc{"GET /tyk/apis/oas": g.definition(g.serveOASDefinitions)}
	for path, oas := range map[string]bool{"/tyk/apis": false, "/tyk/apis/oas": true} {
		add := g.definition(func(w http.ResponseWriter, r *http.Request) error { return g.addDefinition(w, r, oas) })
		routes["POST "+path] = add
		routes["POST "+path+"/{id}"] = add
		routes["GET "+path+"/{id}"] = g.definition(func(w http.ResponseWriter, r *http.Request) error { return g.serveDefinition(w, r, oas) })
		routes["PUT "+path+"/{id}"] = g.definition(func(w http.ResponseWriter, r *http.Request) error { return g.changeDefinition(w, r, oas) })
		routes["DELETE "+path+"/{id}"] = g.definition(func(w http.ResponseWriter, r *http.Request) error { return g.deleteDefinition(w, r, oas) })
	}
	return routes
}

// definition makes a handler of serve, whose error it answers.
func (g *Gateway) definition(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if g.definitions == nil {
			adminError(w, r, http.StatusNotImplemented, msgNoDefinitions)
			return
		}
		if err := serve(w, r); err != nil {
			g.definitionError(w, r, err)
		}
	}
}

func (g *Gateway) serveDefinition(w http.ResponseWriter, r *http.Request, oas bool) error {
	data, err := g.definitions.Read(r.PathValue("id"), oas)
	if err == nil {
		writeJSONText(w, r, data)
	}
	return err
}

// writeJSONText answers with a file's content to the letter.
func writeJSONText(w http.ResponseWriter, r *http.Request, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client may be gone
	}
}

func (g *Gateway) serveOASDefinitions(w http.ResponseWriter, r *http.Request) error {
	all, err := g.definitions.ReadAll()
	if err == nil {
		writeJSON(w, r, http.StatusOK, all)
	}
	return err
}

func (g *Gateway) addDefinition(w http.ResponseWriter, r *http.Request, oas bool) error {
	change, err := g.readChange(w, r, oas)
	if err != nil {
		return err
	}
	written, err := g.definitions.Add(change)
	if err == nil {
		g.answerDefinition(w, r, written, "added")
	}
	return err
}

func (g *Gateway) changeDefinition(w http.ResponseWriter, r *http.Request, oas bool) error {
	change, err := g.readChange(w, r, oas)
	if err != nil {
		return err
	}
	written, err := g.definitions.Replace(change)
	if err == nil {
		g.answerDefinition(w, r, written, "modified")
	}
	return err
}

func (g *Gateway) deleteDefinition(w http.ResponseWriter, r *http.Request, oas bool) error {
	id := r.PathValue("id")
	file, err := g.definitions.Remove(id, oas)
	if err == nil {
		g.answerDefinition(w, r, &apidef.Written{ID: id, File: file}, "deleted")
	}
	return err
}

func (g *Gateway) answerDefinition(w http.ResponseWriter, r *http.Request, written *apidef.Written, action string) {
	g.log.Info("API definition changed, it counts from the next reload on",
		telemetry.KeyAPIID, written.ID, telemetry.KeyFile, written.File, telemetry.KeyAction, action)
	writeJSON(w, r, http.StatusOK, definitionAnswer{
		Key: written.ID, Status: "ok", Action: action, Warnings: written.Warnings,
	})
}

// readChange returns the definition in r's body.
func (g *Gateway) readChange(w http.ResponseWriter, r *http.Request, oas bool) (apidef.Change, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, apidef.MaxFileSize))
	if err != nil {
		return apidef.Change{}, fmt.Errorf("%w: %w", errNoBody, err)
	}
	around := g.surroundings()
	return apidef.Change{
		ID: r.PathValue("id"), Data: data, OAS: oas,
		Check: func(file string, a *apidef.API) error { return a.Unserved(file, around) },
	}, nil
}

// surroundings is what an API definition finds here.
func (g *Gateway) surroundings() apidef.Surroundings {
	return apidef.Surroundings{
		Drivers: slices.Sorted(maps.Keys(g.codes.drivers)), HealthPath: g.config.HealthPath(), AdminPath: config.AdminPath,
	}
}

// definitionError answers with what kept a definition from being read or
// changed.
func (g *Gateway) definitionError(w http.ResponseWriter, r *http.Request, err error) {
	_, long := errors.AsType[*http.MaxBytesError](err)
	_, faulty := errors.AsType[*jsonfile.Error](err)
	switch {
	case long:
		adminError(w, r, http.StatusRequestEntityTooLarge, "the definition is longer than "+strconv.Itoa(apidef.MaxFileSize)+" bytes")
	case faulty:
		adminError(w, r, http.StatusBadRequest, err.Error())
	case errors.Is(err, apidef.ErrNoDefinition):
		adminError(w, r, http.StatusNotFound, msgAPINotFound)
	case errors.Is(err, apidef.ErrConflict):
		adminError(w, r, http.StatusConflict, err.Error())
	case errors.Is(err, errNoBody):
		adminError(w, r, http.StatusBadRequest, errNoBody.Error())
	default:
		g.log.Error("API definitions cannot be read or written", telemetry.KeyError, err.Error())
		adminError(w, r, http.StatusInternalServerError, msgDefinitionIO)
	}
}
