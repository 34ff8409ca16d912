package event

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/krait-gateway/krait/jsonfile"
)

// meta reads a handler_meta, collects what is wrong with it and remembers what
// was asked for. Its messages never repeat a value: any of them may be secret.
type meta struct {
	file, entry string
	values      map[string]any
	asked       map[string]bool
	faults      []jsonfile.Fault
}

func newMeta(file, entry string, values map[string]any) *meta {
	return &meta{file: file, entry: entry, values: values, asked: make(map[string]bool)}
}

// fault adds a fault of the member key, or of the whole meta when key is "".
func (m *meta) fault(key, problem, next string) {
	field := "handler_meta"
	if key != "" {
		field += "." + key
	}
	m.faultAt(field, problem, next)
}

func (m *meta) faultAt(field, problem, next string) {
	m.faults = append(m.faults, jsonfile.Fault{File: m.file, Field: m.entry + "." + field, Problem: problem, Next: next})
}

func (m *meta) faulty(key string) bool {
	field := m.entry + ".handler_meta." + key
	return slices.ContainsFunc(m.faults, func(f jsonfile.Fault) bool { return f.Field == field })
}

func (m *meta) get(key string) any {
	m.asked[key] = true
	return m.values[key]
}

// text returns the string under key, or "".
func (m *meta) text(key string) string {
	switch v := m.get(key).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		m.fault(key, fmt.Sprintf("is %s, not text", kindOf(v)), "put it in quotes")
		return ""
	}
}

// boolean returns the truth value under key, or false.
func (m *meta) boolean(key string) bool {
	switch v := m.get(key).(type) {
	case nil:
		return false
	case bool:
		return v
	default:
		m.fault(key, fmt.Sprintf("is %s, not true or false", kindOf(v)), "use true or false")
		return false
	}
}

// whole returns the whole number of 0 to most under key, or 0.
func (m *meta) whole(key string, most int64) int64 {
	var f float64
	switch v := m.get(key).(type) {
	case nil:
		return 0
	case json.Number:
		var err error
		if f, err = v.Float64(); err != nil {
			f = math.NaN()
		}
	case float64:
		f = v
	case int:
		f = float64(v)
	case int64:
		f = float64(v)
	default:
		m.fault(key, fmt.Sprintf("is %s, not a number", kindOf(v)), "use a number without quotes")
		return 0
	}
	if !(f >= 0 && f <= float64(most)) || f != math.Trunc(f) {
		m.fault(key, "is out of range", fmt.Sprintf("use a whole number from 0 to %d", most))
		return 0
	}
	return int64(f)
}

// texts returns the object of strings under key.
func (m *meta) texts(key string) map[string]string {
	switch v := m.get(key).(type) {
	case nil:
		return nil
	case map[string]string:
		return maps.Clone(v)
	case map[string]any:
		out := make(map[string]string, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[name].(string)
			if !ok {
				m.fault(key+"."+name, fmt.Sprintf("is %s, not text", kindOf(v[name])), "put it in quotes")
				continue
			}
			out[name] = text
		}
		return out
	default:
		m.fault(key, fmt.Sprintf("is %s, not an object", kindOf(v)), `use {"name": "value"}`)
		return nil
	}
}

// unused returns a warning for each member that nothing asked for and that is
// not empty. The names id and name are how other tools tell handlers apart.
func (m *meta) unused() []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		if v := m.values[key]; m.asked[key] || v == nil || v == "" || v == false || key == "id" || key == "name" {
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s.handler_meta.%s has no effect", m.file, m.entry, key))
	}
	return out
}

// kindOf names the JSON type of v.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "true or false"
	case json.Number, float64, int, int64:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}
