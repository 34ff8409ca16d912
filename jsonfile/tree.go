package jsonfile

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// maxFolded is how many members an object may have to be searched by [Unbound]
// without regard to letter case.
const maxFolded = 1000

// Member is a member found in a tree.
type Member struct {
	// Field is its dotted path.
	Field string
	Value any
}

// Find returns the members of tree at the dotted path, in name order. Letter
// case does not count, as in [Bind], and * stands for every member of an
// object.
func Find(tree any, path string) []Member {
	found := []Member{{Value: tree}}
	for step := range strings.SplitSeq(path, ".") {
		var next []Member
		for _, at := range found {
			object, _ := at.Value.(map[string]any)
			for _, key := range slices.Sorted(maps.Keys(object)) {
				if step == "*" || strings.EqualFold(step, key) {
					next = append(next, Member{join(at.Field, key), object[key]})
				}
			}
		}
		found = next
	}
	return found
}

// Unbound returns the value of a member that [Bind] found no field for, by the
// path that it returned. It is false for members within lists and for names with
// a dot. Unlike [Find] it takes little longer when there are many members.
func Unbound(tree any, path string) (value any, found bool) {
	for step := range strings.SplitSeq(path, ".") {
		object, _ := tree.(map[string]any)
		if tree, found = object[step]; found {
			continue
		}
		if len(object) > maxFolded {
			return nil, false
		}
		// Bind names objects as their fields are, whatever their letter case.
		for key := range object {
			if found = strings.EqualFold(step, key); found {
				tree = object[key]
				break
			}
		}
		if !found {
			return nil, false
		}
	}
	return tree, found
}

// Holds says whether any member at path is set.
func Holds(tree any, path string) bool {
	return slices.ContainsFunc(Find(tree, path), func(m Member) bool { return IsSet(m.Value) })
}

// TextAt returns the text at path, "" when there is none.
func TextAt(tree any, path string) string {
	for _, m := range Find(tree, path) {
		if text, ok := m.Value.(string); ok {
			return text
		}
	}
	return ""
}

// IsSet says whether a value asks for anything: null, false, 0, empty text,
// and lists and objects of nothing else do not.
func IsSet(value any) bool {
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
		return slices.ContainsFunc(v, IsSet)
	case map[string]any:
		for _, member := range v {
			if IsSet(member) {
				return true
			}
		}
	}
	return false
}

// IsOn is [IsSet] for what has a switch of its own: an object that says
// "enabled": false or "disabled": true is off whatever else it holds. One that
// says both on and off, or has something else than true or false in its switch,
// counts as on.
func IsOn(value any) bool {
	object, ok := value.(map[string]any)
	if !ok {
		return IsSet(value)
	}
	off := IsTrue(object, "disabled")
	for _, name := range [...]string{"enabled", "enable", "is_enabled"} {
		for _, m := range Find(object, name) {
			if IsSet(m.Value) {
				return true
			}
			off = off || m.Value == false
		}
	}
	for _, name := range [...]string{"enable_cache", "use_discovery_service"} {
		for _, m := range Find(object, name) {
			off = off || m.Value == false
		}
	}
	return !off && IsSet(value)
}

// IsTrue says whether the value at path is true, and nothing else is there in
// another letter case.
func IsTrue(tree any, path string) bool {
	found := Find(tree, path)
	return len(found) > 0 && !slices.ContainsFunc(found, func(m Member) bool { return m.Value != true })
}
