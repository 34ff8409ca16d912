package apidef

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

// MaxFileSize bounds a definition, in bytes. It is far above any real one.
const MaxFileSize = 16 << 20

// Loaded is what came of one file: either API or Err is set.
type Loaded struct {
	// File is the path of the file.
	File string
	API  *API
	// Warnings names what the file asks for in vain, a line each.
	Warnings []string
	// Err says everything that is wrong with the file.
	Err error
	// Partial is set beside Err when the file holds a JSON object, so that
	// something can be told of what it asks for.
	Partial *Partial
}

// Partial is what can be told of a definition that is refused, so that its
// requests can be answered with an error instead of "not found".
type Partial struct {
	// ID is empty when there is none.
	ID, Name, OrgID string
	// ListenPath is empty when there is none, it is not usable, or another
	// file's API listens there.
	ListenPath string
	Domain     string
	// Active is as [API.Active].
	Active bool
	// Asked is the definition as far as it could be read. It is there to be
	// compared ([API.OtherProtection]), never to be served.
	Asked *API
	// Unsupported says that it asks for a protection that this version does
	// not have.
	Unsupported bool
}

func partialOf(api *API, unsupported bool) *Partial {
	partial := &Partial{
		ID: api.ID, Name: api.Name, OrgID: api.OrgID,
		Domain: api.Domain, Active: api.Active,
		Asked: api, Unsupported: unsupported,
	}
	if listenPathProblem(api.Proxy.ListenPath) == "" {
		partial.ListenPath = api.Proxy.ListenPath
	}
	return partial
}

// LoadDir reads the *.json files in dir in name order, as app_path holds them.
// A file that is broken, or repeats the api_id or the domain and listen path
// of an earlier one, has Err set and does not affect the others. Where Tyk
// wrote an OAS definition into two files, x-oas.json counts and x.json, which
// says is_oas, is left out. The error is for a directory that cannot be read.
func LoadDir(dir string) ([]Loaded, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		problem := err.Error()
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			problem = pathError.Err.Error()
		}
		return nil, fmt.Errorf("read API definitions: %s: %s; set app_path of tyk.conf to the directory that holds them", dir, problem)
	}
	now := time.Now()
	var all []Loaded
	taken := claims{ids: map[string]string{}, routes: map[string]string{}}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.EqualFold(filepath.Ext(name), ".json") || strings.HasPrefix(name, ".") {
			continue
		}
		if hasOASFile(entries, name) && saysOAS(filepath.Join(dir, name)) {
			continue
		}
		loaded, ok := loadFile(filepath.Join(dir, name), now)
		if !ok {
			continue
		}
		taken.check(&loaded)
		all = append(all, loaded)
	}
	return all, nil
}

// hasOASFile says whether the file that Tyk writes beside name is there.
func hasOASFile(entries []fs.DirEntry, name string) bool {
	other := strings.TrimSuffix(name, filepath.Ext(name)) + "-oas.json"
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == other })
}

// saysOAS says whether the definition at path is one whose real content is in
// another file.
func saysOAS(path string) bool {
	data, err := readFile(path)
	if err != nil {
		return false
	}
	tree, err := jsonfile.Parse(path, data)
	return err == nil && jsonfile.Holds(tree, "is_oas")
}

// loadFile reads one file; ok is false for directories and what is gone. Links
// are followed, since mounted configuration often consists of them.
func loadFile(path string, now time.Time) (loaded Loaded, ok bool) {
	loaded.File = path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return loaded, false
	}
	if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
		return loaded, false // deleted since the directory was read
	}
	data, err := readFile(path)
	if err != nil {
		loaded.Err = unreadable(path, err)
		return loaded, true
	}
	api, partial, warnings, err := parse(path, data, now)
	loaded.Warnings = warnings
	if err != nil {
		loaded.Err, loaded.Partial = err, partial
	} else {
		loaded.API = api
	}
	return loaded, true
}

// readFile reads a regular file of a definition's size.
func readFile(path string) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > MaxFileSize:
		return nil, fmt.Errorf("is larger than %d MiB", MaxFileSize>>20)
	}
	return os.ReadFile(path)
}

func unreadable(path string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return jsonfile.NewError([]jsonfile.Fault{{
		File: path, Problem: "cannot be read: " + err.Error(), Next: "make it a file this process may read",
	}})
}

// claims remembers which file was first to use an id or a route.
type claims struct{ ids, routes map[string]string }

func (c claims) check(loaded *Loaded) {
	api := loaded.API
	if api == nil {
		return
	}
	var faults []jsonfile.Fault
	if first, twice := c.ids[api.ID]; twice {
		faults = append(faults, jsonfile.Fault{
			File: loaded.File, Field: api.Form.Field("api_id"), Problem: "is also the id of the API in " + first, Next: "give each API its own id",
		})
	}
	first, routeTaken := c.routes[route(api)]
	if routeTaken && api.Active {
		faults = append(faults, jsonfile.Fault{
			File: loaded.File, Field: api.Form.Field("proxy.listen_path"), Problem: "is also the listen path of the API in " + first,
			Next: "give each API its own listen path or domain, or set active to false",
		})
	}
	if len(faults) > 0 {
		loaded.API, loaded.Partial, loaded.Err = nil, partialOf(api, false), jsonfile.NewError(faults)
		if routeTaken {
			loaded.Partial.ListenPath = ""
		}
		return
	}
	c.ids[api.ID] = loaded.File
	if api.Active {
		c.routes[route(api)] = loaded.File
	}
}

// route is the same for APIs that would take the same requests.
func route(api *API) string {
	path := api.Proxy.ListenPath
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	domain := api.Domain
	if host, _, err := net.SplitHostPort(domain); err == nil {
		domain = host
	}
	return strings.ToLower(strings.TrimSuffix(domain, ".")) + " " + strings.Trim(path, "/")
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
