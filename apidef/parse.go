package apidef

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

// Parse reads an API definition in Tyk's classic form, or an OpenAPI document
// with x-tyk-api-gateway. name stands for the file in messages. warnings names
// what the definition asks for that is without effect. The error is a
// [*jsonfile.Error] with every fault.
func Parse(name string, data []byte) (api *API, warnings []string, err error) {
	api, _, warnings, err = parse(name, data, time.Now())
	if err != nil {
		return nil, warnings, err
	}
	return api, warnings, nil
}

// parse is Parse at the time now. What can be told of a faulty definition is
// in partial, which is nil when it is no JSON object.
func parse(name string, data []byte, now time.Time) (*API, *Partial, []string, error) {
	tree, err := jsonfile.Parse(name, data)
	if tree == nil {
		return nil, nil, nil, err
	}
	faults := jsonfile.Faults(name, err)
	if fault, other := otherForm(name, tree); other {
		return nil, nil, nil, jsonfile.NewError(append(faults, fault))
	}

	read := readClassic
	if isOAS(tree) {
		read = readOAS
	}
	judge := protections{name: name, tree: tree, now: now}
	api, more, warnings := read(&judge)
	faults = append(faults, more...)
	for _, fault := range jsonfile.Faults(name, api.Validate(name)) {
		fault.Field = strings.Replace(fault.Field, oasAnyScheme, oasSchemesField+"."+judge.scheme, 1)
		// A field that could not be read also looks as if it were missing.
		if !reported(faults, fault.Field) {
			faults = append(faults, fault)
		}
	}
	for _, fault := range judge.faults {
		if !reported(faults, fault.Field) {
			faults = append(faults, fault)
		}
	}
	api.ExpiresAt = judge.expiresAt
	return api, partialOf(api, len(judge.faults) > 0), warnings, jsonfile.NewError(faults)
}

func reported(faults []jsonfile.Fault, field string) bool {
	for _, fault := range faults {
		if strings.EqualFold(fault.Field, field) {
			return true
		}
	}
	return false
}

// isOAS says whether the file is an OpenAPI document.
func isOAS(tree map[string]any) bool {
	return len(jsonfile.Find(tree, oasExtensionName)) > 0 || len(jsonfile.Find(tree, "openapi")) > 0
}

// otherForm recognises files that are no definitions, which would otherwise
// only be told what they lack.
func otherForm(name string, tree map[string]any) (jsonfile.Fault, bool) {
	fault := jsonfile.Fault{File: name}
	if _, ok := tree["api_definition"].(map[string]any); ok && tree["proxy"] == nil {
		fault.Field = "api_definition"
		fault.Problem = "the file is a dashboard export"
		fault.Next = "keep only the object that is the value of api_definition"
		return fault, true
	}
	if len(jsonfile.Find(tree, "openapi")) > 0 && len(jsonfile.Find(tree, oasExtensionName)) == 0 {
		fault.Field = oasExtensionName
		fault.Problem = "is missing; an OpenAPI document alone does not say where the gateway listens and sends requests"
		fault.Next = "add it with info, server and upstream"
		return fault, true
	}
	return jsonfile.Fault{}, false
}

// converter is what turning any form into an [API] needs.
type converter struct {
	name   string
	faults []jsonfile.Fault
}

func (c *converter) fault(field, problem, next string) {
	c.faults = append(c.faults, jsonfile.Fault{File: c.name, Field: field, Problem: problem, Next: next})
}

// compact returns value as JSON text.
func (c *converter) compact(field string, value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		c.fault(field, "cannot be written as JSON: "+err.Error(), "")
		return EmptyConfigData
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// target returns the upstream, nil when there is none that can be read.
func (c *converter) target(field, text string) *url.URL {
	if text == "" {
		return nil
	}
	target, err := url.Parse(text)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		c.fault(field, "is not a URL", "write an absolute URL such as http://upstream:8080/")
		return nil
	}
	return target
}

// named fills in the names that Tyk derives from the header's.
func (a Auth) named() Auth {
	if a.UseParam {
		a.ParamName = firstOf(a.ParamName, a.HeaderName)
	}
	if a.UseCookie {
		a.CookieName = firstOf(a.CookieName, a.HeaderName)
	}
	return a
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func splitNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
