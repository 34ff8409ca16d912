package apidef

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/krait-gateway/krait/jsonfile"
)

// Validate returns what is wrong with the API, whatever form it was written
// in, as a [*jsonfile.Error], or nil. file and the field names of the form
// go into the messages.
func (a *API) Validate(file string) error {
	v := validator{file: file, form: a.Form}
	if a.ID == "" {
		v.add("api_id", "is missing", "write an id that no other API of this gateway has")
	} else if strings.ContainsFunc(a.ID, unicode.IsControl) {
		v.add("api_id", "has control characters", "use letters, digits and hyphens")
	}
	if strings.ContainsFunc(a.Domain, notInHost) {
		v.add("domain", "is not a plain host name, which is all that is matched", "write a name such as api.example.com, or remove it")
	}
	v.listenPath(a.Proxy.ListenPath)
	v.target(a.Proxy.TargetURL)
	if a.SessionLifetime < 0 {
		v.add("session_lifetime", "is negative", "write a number of seconds, 0 for the gateway's default")
	}
	if !a.Keyless {
		v.authentication(a)
	}
	for name, handlers := range a.EventHandlers {
		for _, handler := range handlers {
			if handler.Name == "" {
				v.add("event_handlers.events."+name, "has a handler without handler_name",
					"write for example cp_dynamic_handler or eh_log_handler")
			}
		}
	}
	for _, fault := range a.CustomMiddleware.Faults(file, "custom_middleware") {
		v.add(fault.Field, fault.Problem, fault.Next)
	}
	return jsonfile.NewError(v.faults)
}

// notInHost says whether r cannot be in a host name, with or without a port.
func notInHost(r rune) bool {
	return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`*{}()|^$/\@?#`, r)
}

type validator struct {
	file   string
	form   Form
	faults []jsonfile.Fault
}

// add takes the field's name in the classic form.
func (v *validator) add(field, problem, next string) {
	v.faults = append(v.faults, jsonfile.Fault{File: v.file, Field: v.form.Field(field), Problem: problem, Next: next})
}

func (v *validator) listenPath(path string) {
	const next = `write a plain path such as /my-api/`
	if problem := listenPathProblem(path); problem != "" {
		v.add("proxy.listen_path", problem, next)
	}
}

// listenPathProblem says why path cannot be routed on, or "".
func listenPathProblem(path string) string {
	switch {
	case path == "":
		return "is missing"
	case path[0] != '/':
		return "does not start with /"
	case strings.ContainsFunc(path, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return "has spaces or control characters"
	case strings.ContainsAny(path, "?#"):
		return "has a query or fragment, but only paths are routed on"
	case strings.ContainsAny(path, "{}*"):
		return "has a pattern, but only plain paths are supported"
	}
	if _, err := url.PathUnescape(path); err != nil {
		return "has a wrong percent-encoding"
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || (segment == "" && i < len(segments)-1) {
			return "has empty, . or .. segments"
		}
	}
	return ""
}

func (v *validator) target(target *url.URL) {
	const field, next = "proxy.target_url", "write an absolute URL such as http://upstream:8080/"
	if target == nil || *target == (url.URL{}) {
		v.add(field, "is missing", next)
		return
	}
	switch target.Scheme {
	case "http", "https", "h2c", "ws", "wss":
		if target.Hostname() == "" {
			v.add(field, "has no host", next)
		}
	case "":
		v.add(field, "is not an absolute URL", next)
	case "env", "secrets", "consul", "vault":
		v.add(field, "refers to a key-value store ("+target.Scheme+"://), which is not supported", next)
	default:
		v.add(field, "has the scheme "+target.Scheme+", which is not supported",
			"use http, https, h2c, ws or wss")
	}
}

func (v *validator) authentication(a *API) {
	if a.CustomAuth && len(a.Bundles) == 0 && !a.CustomMiddleware.AuthCheck.Runs() {
		v.add("enable_coprocess_auth", "is true, but nothing defines an auth_check hook",
			"name a bundle in "+v.form.Field("custom_middleware_bundle")+" or a function in "+v.form.Field("custom_middleware.auth_check.name"))
	}
	if a.ExternalOAuth.Enabled {
		v.externalOAuth(&a.ExternalOAuth)
	}
	if a.Auth.UseParam && a.Auth.ParamName == "" && a.Auth.HeaderName == "" {
		v.add("auth.param_name", "is missing", "write the name of the parameter that carries the key")
	}
}
