package apidef

import (
	"encoding/json"
	"slices"

	"github.com/krait-gateway/krait/jsonfile"
)

func joinField(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// hasEntry says whether a list has an element that is on.
func hasEntry(value any) bool {
	list, ok := value.([]any)
	if !ok {
		return jsonfile.IsSet(value)
	}
	return slices.ContainsFunc(list, jsonfile.IsOn)
}

// numberAt returns the largest number at path, and whether anything but a
// number is there.
func numberAt(tree any, path string) (largest float64, strange bool) {
	for _, m := range jsonfile.Find(tree, path) {
		digits, ok := m.Value.(json.Number)
		if !ok {
			strange = strange || jsonfile.IsSet(m.Value)
			continue
		}
		n, err := digits.Float64()
		strange = strange || err != nil
		largest = max(largest, n)
	}
	return largest, strange
}
