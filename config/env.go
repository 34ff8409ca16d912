package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"

	"github.com/krait-gateway/krait/jsonfile"
)

const (
	envPrefix = "TYK_GW_"
	// envSource stands for the file in messages about variables.
	envSource = "environment"
)

// environment applies overriding variables to a Config.
type environment struct {
	variables map[string]variable // by name
	config    *Config
	// set maps the key of each setting that was overridden to the variable.
	set      map[string]string
	faults   []jsonfile.Fault
	warnings []string
}

// variable is one that is understood.
type variable struct {
	key  string // in tyk.conf
	kind reflect.Type
	// usual is the value when nothing is configured.
	usual reflect.Value
}

// variables returns all variables that are understood, by name.
func variables() map[string]variable {
	all := make(map[string]variable)
	addVariables(all, reflect.ValueOf(*Default()), envPrefix, "")
	return all
}

func addVariables(all map[string]variable, section reflect.Value, prefix, path string) {
	for i := range section.NumField() {
		field := section.Type().Field(i)
		key := path + field.Tag.Get("json")
		if nested, ok := field.Tag.Lookup("envPrefix"); ok {
			addVariables(all, section.Field(i), prefix+nested, key+".")
		} else if name, ok := field.Tag.Lookup("env"); ok {
			all[prefix+name] = variable{key: key, kind: field.Type, usual: section.Field(i)}
		}
	}
}

// apply reads environ. The variables are parsed one by one, so that each
// fault can be told by the variable's name.
func (e *environment) apply(environ []string) {
	values := env.ToMap(environ)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		known, ok := e.variables[name]
		if !ok {
			e.unknown(name, value)
			continue
		}
		err := env.ParseWithOptions(e.config, env.Options{
			Prefix:      envPrefix,
			Environment: map[string]string{name: value},
			FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[[]Certificate](): parseCertificates},
		})
		if err != nil {
			e.faults = append(e.faults, jsonfile.Fault{
				File: envSource, Field: name, Problem: "must be " + wanted(known.kind), Next: "write for example " + name + "=" + known.example(),
			})
			continue
		}
		e.set[known.key] = name
	}
}

func (e *environment) unknown(name, value string) {
	if setting, ok := unsupportedVariable(name); ok {
		if setOn(value) {
			e.faults = append(e.faults, setting.fault(envSource, name))
		}
		return
	}
	e.warnings = append(e.warnings, envSource+": "+name+": is not known or not supported, and without effect")
}

// setOn says whether a variable's text asks for anything.
func setOn(value string) bool {
	switch strings.ToLower(value) {
	case "", "0", "false", "f":
		return false
	}
	return true
}

func parseCertificates(text string) (any, error) {
	var certificates []Certificate
	err := json.Unmarshal([]byte(text), &certificates)
	return certificates, err
}

// example is a value that can be written.
func (v variable) example() string {
	switch v.kind {
	case reflect.TypeFor[[]Certificate]():
		return `'[{"cert_file": "server.pem", "key_file": "server.key"}]'`
	case reflect.TypeFor[map[string]string]():
		return "redis.internal:6379"
	}
	switch {
	case v.kind.Kind() == reflect.Bool:
		return "true"
	case !v.usual.IsZero():
		return fmt.Sprint(v.usual.Interface())
	case v.kind.Kind() == reflect.Uint16:
		return "771" // TLS 1.2
	default:
		return "10"
	}
}

// wanted says how a variable for a field of type kind is written. Messages do
// not repeat the value, which may be a secret.
func wanted(kind reflect.Type) string {
	switch kind {
	case reflect.TypeFor[Duration]():
		return `a duration such as "500ms", "10s" or "1m"`
	case reflect.TypeFor[[]Certificate]():
		return `a JSON list such as [{"domain_name": "...", "cert_file": "...", "key_file": "..."}]`
	}
	switch kind.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Map:
		return "a list such as key1:value1,key2:value2"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint16:
		return "a whole number from 0 to 65535"
	default:
		return fmt.Sprintf("a %s", kind.Kind())
	}
}
