package apidef

import (
	"fmt"
	"regexp"

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

// IDExtractor finds the session id in a request, so that auth_check need not
// run for each (contract section 6).
type IDExtractor struct {
	ExtractFrom string          `json:"extract_from,omitempty"` // header, form or body
	ExtractWith string          `json:"extract_with,omitempty"` // value, regex or xpath
	Config      ExtractorConfig `json:"extractor_config,omitzero"`
	Disabled    bool            `json:"disabled,omitempty"`
}

// ExtractorConfig holds the settings of all kinds of [IDExtractor].
type ExtractorConfig struct {
	HeaderName      string `json:"header_name,omitempty"`
	ParamName       string `json:"param_name,omitempty"`
	RegexExpression string `json:"regex_expression,omitempty"`
	RegexMatchIndex int    `json:"regex_match_index,omitempty"`
	XPathExpression string `json:"xpath_expression,omitempty"`
}

// Runs says whether the hook is there and not disabled.
func (d MiddlewareDefinition) Runs() bool {
	return d.Name != "" && !d.Disabled
}

// Runs says whether the extractor is configured and not disabled.
func (x IDExtractor) Runs() bool {
	return (x.ExtractFrom != "" || x.ExtractWith != "") && !x.Disabled
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
	if m.IDExtractor.Runs() {
		m.IDExtractor.faults(add)
	}
	return faults
}

func (x IDExtractor) faults(add func(member, problem, next string)) {
	switch x.ExtractFrom {
	case "header":
		if x.Config.HeaderName == "" {
			add("id_extractor.extractor_config.header_name", "is missing", "write the name of the header that holds the id")
		}
	case "form":
		if x.Config.ParamName == "" {
			add("id_extractor.extractor_config.param_name", "is missing", "write the name of the form field that holds the id")
		}
	case "body":
	default:
		add("id_extractor.extract_from", fmt.Sprintf("%q is not known", x.ExtractFrom), "use header, form or body")
	}
	switch x.ExtractWith {
	case "value":
		if x.ExtractFrom == "body" {
			add("id_extractor.extract_with", "value cannot be used with the body, all callers would share one session",
				"use regex or xpath, or extract from header or form")
		}
	case "regex":
		if x.Config.RegexExpression == "" {
			add("id_extractor.extractor_config.regex_expression", "is missing", "write the regular expression")
		} else if _, err := regexp.Compile(x.Config.RegexExpression); err != nil {
			add("id_extractor.extractor_config.regex_expression", "is not a regular expression: "+err.Error(),
				"correct it, the syntax is that of Go (RE2)")
		}
		if x.Config.RegexMatchIndex < 0 {
			add("id_extractor.extractor_config.regex_match_index", "is negative", "write 0 for the first match")
		}
	case "xpath":
		if x.Config.XPathExpression == "" {
			add("id_extractor.extractor_config.xpath_expression", "is missing", "write the XPath expression")
		}
	default:
		add("id_extractor.extract_with", fmt.Sprintf("%q is not known", x.ExtractWith), "use value, regex or xpath")
	}
}
