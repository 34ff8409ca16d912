package apidef

import (
	"maps"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

const defaultVersion = "Default"

// versions judges version_data: one version is supported, and of its settings
// only those that restrict nothing.
func (p *protections) versions() {
	const field = "version_data.versions"
	p.objects(p.tree, "", field+".*")
	all := make(map[string]any)
	for _, m := range jsonfile.Find(p.tree, field+".*") {
		all[m.Field[len(field)+1:]] = m.Value
	}
	if len(all) == 0 {
		return
	}
	notVersioned := jsonfile.Holds(p.tree, "version_data.not_versioned")
	name, ok := onlyVersion(all, notVersioned)
	if !ok {
		p.add(field, "has versions that requests choose from, which is not supported",
			"set version_data.not_versioned to true and keep one version, named Default, or write a definition for each version")
		return
	}
	at := joinField(field, name)
	version := all[name]
	p.version(version, at)
	if !notVersioned {
		// Tyk does not look at the expiry of an unversioned API.
		p.expiry(version, at, "expires")
	}
}

// onlyVersion returns the version that counts for every request.
func onlyVersion(all map[string]any, notVersioned bool) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == defaultVersion && (notVersioned || len(all) == 1) {
			return name, true
		}
		if len(all) == 1 && (notVersioned || name == "" || strings.EqualFold(name, defaultVersion)) {
			return name, true
		}
	}
	return "", false
}

func versionTable() []protection {
	return []protection{
		{path: "global_size_limit", unless: "global_size_limit_disabled", next: "use http_server_options.max_request_body_size of tyk.conf, or remove it"},
		{path: "global_headers", unless: "global_headers_disabled", next: "add headers in a post hook, or remove them"},
		{path: "global_headers_remove", unless: "global_headers_disabled", next: "delete headers in a post hook, or remove them"},
		{path: "global_response_headers", unless: "global_response_headers_disabled", next: nextResponse},
		{path: "global_response_headers_remove", unless: "global_response_headers_disabled", next: nextResponse},
		{path: "override_target", next: "write this URL into proxy.target_url"},
		{path: "paths.white_list", unless: "use_extended_paths", next: nextPreHook},
		{path: "paths.black_list", unless: "use_extended_paths", next: nextPreHook},
	}
}

// harmlessPath says whether leaving out a per-path setting restricts nothing:
// it would only open, speed up or count requests.
func harmlessPath(name string) bool {
	switch strings.ToLower(name) {
	case "ignored", "cache", "advance_cache_config", "track_endpoints", "do_not_track_endpoints":
		return true
	}
	return false
}

func (p *protections) version(version any, at string) {
	for _, setting := range versionTable() {
		p.check(version, at, setting)
	}
	if !jsonfile.Holds(version, "use_extended_paths") {
		return
	}
	p.objects(version, at, "extended_paths")
	// Also what is not known here may protect a path.
	for _, m := range jsonfile.Find(version, "extended_paths.*") {
		name := m.Field[strings.IndexByte(m.Field, '.')+1:]
		if !harmlessPath(name) && hasEntry(m.Value) {
			p.add(joinField(at, m.Field), "is active, but settings for single paths are not supported by this version of krait",
				"do this in a hook instead, or remove it")
		}
	}
}
