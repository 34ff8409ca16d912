package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/krait-gateway/krait/apidef"
)

// foreignDrivers are drivers of other gateways: a bundle may be built for
// them, but not loaded here.
func foreignDrivers() []string { return []string{"lua", "otto", "goplugin"} }

// validate adds everything that is wrong with m.
func (m *Manifest) validate(found *faults) {
	m.validateSpelling(found)
	m.validateFiles(found)
	m.validateMiddleware(found)
	m.validateSettings(found)
}

// validateSpelling refuses known members in another letter case: some readers
// take them for the known ones and some do not, so a signature would mean two
// things.
func (m *Manifest) validateSpelling(found *faults) {
	known := []string{"file_list", "custom_middleware", "checksum", "signature", "manifest_signature", "krait"}
	for _, name := range slices.Sorted(maps.Keys(m.tree)) {
		if lower := fold(name); lower != name && slices.Contains(known, lower) {
			found.add(name, "is not written in lower case", fmt.Sprintf("write %q", lower))
		}
	}
}

func (m *Manifest) validateFiles(found *faults) {
	paths := newPathSet()
	for i, name := range m.FileList {
		field := fmt.Sprintf("file_list[%d]", i)
		clean, problem := cleanEntry(name)
		if problem != "" {
			found.add(field, fmt.Sprintf("%q: %s", name, problem), "name a file below the manifest's directory")
			continue
		}
		if fold(clean) == manifestName {
			found.add(field, fmt.Sprintf("%q: the manifest is part of every bundle", name), "remove it from file_list")
			continue
		}
		if problem := paths.add(clean); problem != "" {
			found.add(field, fmt.Sprintf("%q: %s", name, problem), "list every file once, under one name")
		}
	}
	if len(m.FileList) == 0 && m.CustomMiddleware.Driver == apidef.DriverPython {
		found.add("file_list", "is empty", "list the plugin's files, middleware.py first")
	}
}

func (m *Manifest) validateMiddleware(found *faults) {
	driver := m.CustomMiddleware.Driver
	known := slices.Concat([]string{apidef.DriverPython, apidef.DriverGRPC}, foreignDrivers())
	switch {
	case driver == "":
		found.add("custom_middleware.driver", "is missing", `write "python" or "grpc"`)
	case !slices.Contains(known, driver):
		found.add("custom_middleware.driver", fmt.Sprintf("%q is not a driver", driver), `write "python" or "grpc"`)
	}
	// The driver was judged above: a bundle may be built for another gateway.
	middleware := m.CustomMiddleware
	middleware.Driver = apidef.DriverPython
	found.list = append(found.list, middleware.Faults(found.file, "custom_middleware")...)
	if len(hookNames(m)) == 0 {
		found.add("custom_middleware", "names no hook",
			"add at least one of pre, auth_check, post_key_auth, post, response")
	}
}

// hookNames returns the hooks as "pre MyHook", with those that are disabled.
func hookNames(manifest *Manifest) []string {
	middleware := &manifest.CustomMiddleware
	var names []string
	add := func(kind string, hooks ...apidef.MiddlewareDefinition) {
		for _, hook := range hooks {
			switch {
			case hook.Name == "": // what builders write where there is none
			case hook.Disabled:
				names = append(names, kind+" "+hook.Name+" (disabled)")
			default:
				names = append(names, kind+" "+hook.Name)
			}
		}
	}
	add("pre", middleware.Pre...)
	add("auth_check", middleware.AuthCheck)
	add("post_key_auth", middleware.PostKeyAuth...)
	add("post", middleware.Post...)
	add("response", middleware.Response...)
	return names
}

func (m *Manifest) validateSettings(found *faults) {
	if text := m.Krait.Timeout; text != "" {
		timeout, err := time.ParseDuration(text)
		if err != nil || timeout <= 0 {
			found.add("krait.timeout", fmt.Sprintf("%q is not a duration above 0", text),
				`write for example "500ms" or "10s"`)
		}
	}
	switch m.Krait.Isolation {
	case "", "inprocess":
	case "process":
		found.add("krait.isolation", `"process" is not available in this version`,
			`write "inprocess" or remove the member`)
	default:
		found.add("krait.isolation", fmt.Sprintf("%q is not a kind of isolation", m.Krait.Isolation),
			`write "inprocess" or remove the member`)
	}
	if strings.ContainsRune(m.Krait.Venv, 0) {
		found.add("krait.venv", "holds a NUL character", "write the directory of a virtual environment")
	}
	for _, path := range m.Unknown {
		if kraitMember(path) {
			found.add(path, "is not a setting of krait", "use timeout, serial, isolation or venv, or remove it")
		}
	}
}

// loadable reports whether this gateway can run the bundle; the error is an
// [ErrUnsupported].
func (m *Manifest) loadable() error {
	driver := m.CustomMiddleware.Driver
	if slices.Contains(foreignDrivers(), driver) {
		return mark(ErrUnsupported, `%s: custom_middleware.driver: %q is known but not supported here, use "python" or "grpc"`,
			manifestName, driver)
	}
	return nil
}
