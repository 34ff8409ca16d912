package apidef

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// match is a member found in a tree.
type match struct {
	field string
	value any
}

// find returns the members of tree at the dotted path, in name order. Letter
// case does not count, as it does not for Tyk, and * stands for every member
// of an object or element of a list.
func find(tree any, path string) []match {
	found := []match{{value: tree}}
	for step := range strings.SplitSeq(path, ".") {
		var next []match
		for _, at := range found {
			object, _ := at.value.(map[string]any)
			for _, key := range slices.Sorted(maps.Keys(object)) {
				if step == "*" || strings.EqualFold(step, key) {
					next = append(next, match{joinField(at.field, key), object[key]})
				}
			}
		}
		found = next
	}
	return found
}

func joinField(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// holds says whether any member at path is set.
func holds(tree any, path string) bool {
	return slices.ContainsFunc(find(tree, path), func(m match) bool { return isSet(m.value) })
}

// textAt returns the text at path, "" when there is none.
func textAt(tree any, path string) string {
	for _, m := range find(tree, path) {
		if text, ok := m.value.(string); ok {
			return text
		}
	}
	return ""
}

// isSet says whether a value asks for anything: null, false, 0, empty text,
// and lists and objects of nothing else do not.
func isSet(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		n, err := v.Float64()
		return err != nil || n != 0
	case []any:
		return slices.ContainsFunc(v, isSet)
	case map[string]any:
		for _, member := range v {
			if isSet(member) {
				return true
			}
		}
	}
	return false
}

// isOn is isSet for what has a switch of its own: an object that says
// "enabled": false or "disabled": true is off whatever else it holds.
func isOn(value any) bool {
	object, ok := value.(map[string]any)
	if !ok {
		return isSet(value)
	}
	for _, name := range [...]string{"enabled", "enable", "is_enabled", "enable_cache", "use_discovery_service"} {
		for _, m := range find(object, name) {
			if m.value == false {
				return false
			}
		}
	}
	return !holds(object, "disabled") && isSet(value)
}

// hasEntry says whether a list has an element that is on.
func hasEntry(value any) bool {
	list, ok := value.([]any)
	if !ok {
		return isSet(value)
	}
	return slices.ContainsFunc(list, isOn)
}

// numberAt returns the largest number at path, and whether anything but a
// number is there.
func numberAt(tree any, path string) (largest float64, strange bool) {
	for _, m := range find(tree, path) {
		digits, ok := m.value.(json.Number)
		if !ok {
			strange = strange || isSet(m.value)
			continue
		}
		n, err := digits.Float64()
		strange = strange || err != nil
		largest = max(largest, n)
	}
	return largest, strange
}
