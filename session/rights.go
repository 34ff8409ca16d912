package session

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/jsonfile"
)

// AccessRight is one entry of access_rights in the JSON of keys and policies.
// What it opens is the API whose id is the entry's name.
type AccessRight struct {
	APIName string `json:"api_name"`
	APIID   string `json:"api_id"`
	// Versions of the API; empty means its default version.
	Versions []string `json:"versions"`
	// AllowedURLs bounds what may be called; empty means everything.
	AllowedURLs []AllowedURL `json:"allowed_urls"`
}

// AllowedURL lets the methods through to paths that the pattern URL, a regular
// expression, is found in.
type AllowedURL struct {
	URL     string   `json:"url"`
	Methods []string `json:"methods"`
}

// Rights returns rights as a session holds them, nil for none.
func Rights(rights map[string]AccessRight) map[string]*coprocesspb.AccessDefinition {
	if len(rights) == 0 {
		return nil
	}
	out := make(map[string]*coprocesspb.AccessDefinition, len(rights))
	for id, right := range rights {
		definition := &coprocesspb.AccessDefinition{
			ApiName: right.APIName, ApiId: right.APIID, Versions: slices.Clone(right.Versions),
		}
		for _, allowed := range right.AllowedURLs {
			definition.AllowedUrls = append(definition.AllowedUrls,
				&coprocesspb.AccessSpec{Url: allowed.URL, Methods: slices.Clone(allowed.Methods)})
		}
		out[id] = definition
	}
	return out
}

// rightsOf is the reverse of [Rights]; lists are never null in JSON.
func rightsOf(definitions map[string]*coprocesspb.AccessDefinition) map[string]AccessRight {
	out := make(map[string]AccessRight, len(definitions))
	for id, definition := range definitions {
		right := AccessRight{
			APIName: definition.GetApiName(), APIID: definition.GetApiId(),
			Versions: list(definition.GetVersions()), AllowedURLs: []AllowedURL{},
		}
		for _, allowed := range definition.GetAllowedUrls() {
			right.AllowedURLs = append(right.AllowedURLs, AllowedURL{URL: allowed.GetUrl(), Methods: list(allowed.GetMethods())})
		}
		out[id] = right
	}
	return out
}

func list(items []string) []string { return append([]string{}, items...) }

// CheckRights returns what is wrong with access_rights in tree, the object of a
// key or policy: members that this version does not act on, all of which narrow
// what a right opens, and patterns that cannot be read.
func CheckRights(file string, tree map[string]any) []jsonfile.Fault {
	var faults []jsonfile.Fault
	for _, right := range jsonfile.Find(tree, "access_rights.*") {
		object, _ := right.Value.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			switch strings.ToLower(name) {
			case "api_name", "api_id", "versions", "allowed_urls":
				continue
			}
			if Asks(object[name]) {
				faults = append(faults, unsupported(file, right.Field+"."+name, "remove it, or set it to 0, false or empty"))
			}
		}
		for _, urls := range jsonfile.Find(object, "allowed_urls") {
			entries, _ := urls.Value.([]any)
			for i, entry := range entries {
				pattern := jsonfile.TextAt(entry, "url")
				if _, err := regexp.Compile(pattern); err != nil {
					faults = append(faults, jsonfile.Fault{
						File: file, Field: fmt.Sprintf("%s.allowed_urls[%d].url", right.Field, i),
						Problem: "is not a regular expression: " + err.Error(), Next: "correct it",
					})
				}
			}
		}
	}
	return faults
}
