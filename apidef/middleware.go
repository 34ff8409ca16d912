package apidef

import (
	"fmt"

	"github.com/krait-gateway/krait/jsonfile"
)

// Plugin drivers that this project has.
const (
	DriverPython = "python"
	DriverGRPC   = "grpc"
)

// CustomMiddleware is the hook table of an API definition or of a bundle's
// manifest (contract sections 1 and 5).
type CustomMiddleware struct {
	Pre         []MiddlewareDefinition `json:"pre,omitempty"`
	Post        []MiddlewareDefinition `json:"post,omitempty"`
	PostKeyAuth []MiddlewareDefinition `json:"post_key_auth,omitempty"`
	Response    []MiddlewareDefinition `json:"response,omitempty"`
	// AuthCheck has an empty name when there is none.
	AuthCheck MiddlewareDefinition `json:"auth_check,omitzero"`
	// Driver runs all hooks: python or grpc.
	Driver string `json:"driver,omitempty"`
	// IDExtractor is zero when there is none.
	IDExtractor IDExtractor `json:"id_extractor,omitzero"`
}

// MiddlewareDefinition names one hook function.
type MiddlewareDefinition struct {
	Name string `json:"name"`
	// Path is where Tyk looks for JavaScript middleware; without effect.
	Path           string `json:"path,omitempty"`
	RequireSession bool   `json:"require_session,omitempty"`
	// RawBodyOnly leaves Object.request.body empty (contract section 2).
	RawBodyOnly bool `json:"raw_body_only,omitempty"`
	Disabled    bool `json:"disabled,omitempty"`
}

// Runs says whether the hook is there and not disabled.
func (d MiddlewareDefinition) Runs() bool {
	return d.Name != "" && !d.Disabled
}

// HasHooks says whether any hook runs.
func (m *CustomMiddleware) HasHooks() bool {
	if m.AuthCheck.Runs() {
		return true
	}
	for _, list := range m.lists() {
		for _, hook := range list.hooks {
			if hook.Runs() {
				return true
			}
		}
	}
	return false
}

type hookList struct {
	name  string
	hooks []MiddlewareDefinition
}

func (m *CustomMiddleware) lists() []hookList {
	return []hookList{
		{"pre", m.Pre}, {"post_key_auth", m.PostKeyAuth}, {"post", m.Post}, {"response", m.Response},
	}
}

// Faults returns what is wrong with the table. file and field say where it
// is, for the messages.
func (m *CustomMiddleware) Faults(file, field string) []jsonfile.Fault {
	var faults []jsonfile.Fault
	add := func(member, problem, next string) {
		faults = append(faults, jsonfile.Fault{File: file, Field: field + "." + member, Problem: problem, Next: next})
	}
	for _, list := range m.lists() {
		for i, hook := range list.hooks {
			if hook.Name == "" && !hook.Disabled {
				add(fmt.Sprintf("%s[%d].name", list.name, i), "is missing", "write the name of the hook function")
			}
		}
	}
	if m.HasHooks() {
		switch m.Driver {
		case DriverPython, DriverGRPC:
		case "":
			add("driver", "is missing", "write python or grpc")
		default:
			add("driver", fmt.Sprintf("%q is not a driver of this gateway", m.Driver), "use python or grpc")
		}
	}
	return append(faults, m.IDExtractor.Faults(file, field+".id_extractor")...)
}
