package apidef

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

var (
	// ErrNoDefinition says that no file holds the API that is asked for.
	ErrNoDefinition = errors.New("API not found")
	// ErrConflict says that a change does not fit to what other files hold.
	ErrConflict = errors.New("conflict")
)

// Dir changes the definitions in a directory, as app_path names one. Each
// change is checked against all the others there and takes place as a whole or
// not at all. Its methods are safe for concurrent use; changes by one Dir are
// made one after the other. Nothing here changes what a gateway serves.
type Dir struct {
	path string
	mu   sync.Mutex
}

// NewDir returns a Dir for the directory at path, which may come into being
// later.
func NewDir(path string) *Dir { return &Dir{path: path} }

// Change is a definition to be written.
type Change struct {
	// ID is the id of the API. When it is empty, that of the definition
	// counts, and a definition without one gets one.
	ID string
	// Data is the definition, as it shall be in the file.
	Data []byte
	// OAS refuses definitions in another form than OAS.
	OAS bool
	// Check says what else keeps the API from being served; may be nil. file
	// is the definition's name for messages.
	Check func(file string, api *API) error
}

// Written says what was written.
type Written struct {
	// ID is the API's id, File the path of its file.
	ID, File string
	// Warnings names what the definition asks for in vain.
	Warnings []string
}

// bodyName stands for a definition that is no file yet in messages.
const bodyName = "definition"

// byteOrderMark may begin a file and is no part of its JSON.
const byteOrderMark = "\xef\xbb\xbf"

// Read returns the definition with that id as its file holds it. oas refuses
// another form than OAS. The error is [ErrNoDefinition] when there is none.
func (d *Dir) Read(id string, oas bool) ([]byte, error) {
	all, err := LoadDir(d.path)
	if err != nil {
		return nil, err
	}
	held := holding(all, id)
	if len(held) == 0 {
		return nil, ErrNoDefinition
	}
	if err := wrongForm(held[0].form(), oas); err != nil {
		return nil, err
	}
	data, err := readFile(held[0].File)
	switch {
	case errors.Is(err, fs.ErrNotExist): // just deleted
		return nil, ErrNoDefinition
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", held[0].File, err)
	}
	return bytes.TrimPrefix(data, []byte(byteOrderMark)), nil
}

// ReadAll returns all definitions in the OAS form, in the order of their files.
func (d *Dir) ReadAll() ([]json.RawMessage, error) {
	all, err := LoadDir(d.path)
	if err != nil {
		return nil, err
	}
	found := []json.RawMessage{}
	for _, loaded := range all {
		if loaded.id() == "" || loaded.form() != FormOAS {
			continue
		}
		data, err := readFile(loaded.File)
		switch {
		case errors.Is(err, fs.ErrNotExist): // just deleted
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", loaded.File, err)
		}
		found = append(found, bytes.TrimPrefix(data, []byte(byteOrderMark)))
	}
	return found, nil
}

// Add writes a new definition to <id>.json. The error is a [*jsonfile.Error]
// when the definition cannot be used, and [ErrConflict] when its id, its file
// or its listen path is taken.
func (d *Dir) Add(c Change) (*Written, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := LoadDir(d.path)
	if err != nil {
		return nil, err
	}
	api, data, warnings, err := c.parse()
	if err != nil {
		return nil, err
	}
	if problem := unsafeName(api.ID); problem != "" {
		return nil, oneFault(api.Form.Field("api_id"), problem, "use letters, digits, hyphens and underscores")
	}
	if held := holding(all, api.ID); len(held) > 0 {
		return nil, conflict("an API with the id %q is in %s; change it with PUT, or choose another id", api.ID, held[0].File)
	}
	if err := routeConflict(all, api, ""); err != nil {
		return nil, err
	}
	file := api.ID + ".json"
	if err := d.create(file, data); err != nil {
		return nil, err
	}
	return &Written{ID: api.ID, File: filepath.Join(d.path, file), Warnings: warnings}, nil
}

// Replace writes a definition to the file that holds c.ID, whatever its name.
// The error is [ErrNoDefinition] when there is none, otherwise as for
// [Dir.Add].
func (d *Dir) Replace(c Change) (*Written, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := LoadDir(d.path)
	if err != nil {
		return nil, err
	}
	held, err := onlyFile(all, c.ID, c.OAS)
	if err != nil {
		return nil, err
	}
	api, data, warnings, err := c.parse()
	if err != nil {
		return nil, err
	}
	if err := routeConflict(all, api, held.File); err != nil {
		return nil, err
	}
	if err := d.replace(filepath.Base(held.File), data); err != nil {
		return nil, err
	}
	return &Written{ID: api.ID, File: held.File, Warnings: warnings}, nil
}

// Remove deletes the file that holds id, and returns its path. The error is
// [ErrNoDefinition] when there is none.
func (d *Dir) Remove(id string, oas bool) (file string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := LoadDir(d.path)
	if err != nil {
		return "", err
	}
	held, err := onlyFile(all, id, oas)
	if err != nil {
		return "", err
	}
	return held.File, d.remove(filepath.Base(held.File))
}

// parse returns the API of the change and what is to be written.
func (c *Change) parse() (*API, []byte, []string, error) {
	data := bytes.TrimPrefix(c.Data, []byte(byteOrderMark))
	if tree, err := jsonfile.Parse(bodyName, data); err == nil {
		data = c.withID(tree, data)
	}
	api, partial, warnings, err := parse(bodyName, data, time.Now())
	form := FormClassic
	if api != nil {
		form = api.Form
	}
	faults := jsonfile.Faults(bodyName, err)
	if c.OAS && form != FormOAS && (api != nil || partial != nil) {
		faults = append(faults, jsonfile.Faults(bodyName, wrongForm(form, true))...)
	}
	if c.ID != "" && api != nil && api.ID != "" && api.ID != c.ID {
		faults = append(faults, jsonfile.Fault{
			File: bodyName, Field: form.Field("api_id"), Problem: "is not the id that the request names", Next: "write the same id in both",
		})
	}
	if len(faults) == 0 && c.Check != nil {
		faults = jsonfile.Faults(bodyName, c.Check(bodyName, api))
	}
	return api, data, warnings, jsonfile.NewError(faults)
}

// withID gives a definition that has no id the one that is asked for, or a new
// one. Otherwise data stays as it is.
func (c *Change) withID(tree map[string]any, data []byte) []byte {
	holder, member := tree, "api_id"
	if isOAS(tree) {
		extension, _ := tree[oasExtensionName].(map[string]any)
		if extension == nil || jsonfile.TextAt(extension, "info.id") != "" {
			return data
		}
		info, _ := extension["info"].(map[string]any)
		if info == nil {
			info = map[string]any{}
			extension["info"] = info
		}
		holder, member = info, "id"
	} else if jsonfile.TextAt(tree, "api_id") != "" || jsonfile.TextAt(tree, "id") != "" {
		return data
	}
	id := c.ID
	if id == "" {
		var random [16]byte
		_, _ = rand.Read(random[:]) // never fails
		id = hex.EncodeToString(random[:])
	}
	holder[member] = id
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if encoder.Encode(tree) != nil {
		return data
	}
	return out.Bytes()
}

// id returns the id in the file, "" when there is none.
func (l *Loaded) id() string {
	switch {
	case l.API != nil:
		return l.API.ID
	case l.Partial != nil:
		return l.Partial.ID
	}
	return ""
}

func (l *Loaded) form() Form {
	switch {
	case l.API != nil:
		return l.API.Form
	case l.Partial != nil:
		return l.Partial.Asked.Form
	}
	return FormClassic
}

// holding returns the files with that id; what is served comes first.
func holding(all []Loaded, id string) []Loaded {
	var found []Loaded
	for _, loaded := range all {
		if id != "" && loaded.id() == id {
			found = append(found, loaded)
		}
	}
	slices.SortStableFunc(found, func(a, b Loaded) int {
		switch {
		case a.API != nil && b.API == nil:
			return -1
		case a.API == nil && b.API != nil:
			return 1
		}
		return 0
	})
	return found
}

// onlyFile returns the one file with that id. To change one of several would
// bring another into service.
func onlyFile(all []Loaded, id string, oas bool) (*Loaded, error) {
	held := holding(all, id)
	switch {
	case len(held) == 0:
		return nil, ErrNoDefinition
	case len(held) > 1:
		return nil, conflict("%s and %s hold the id %q; remove one of them", held[0].File, held[1].File, id)
	}
	return &held[0], wrongForm(held[0].form(), oas)
}

func wrongForm(form Form, oas bool) error {
	if !oas || form == FormOAS {
		return nil
	}
	return oneFault("", "is not in the OAS form", "use /tyk/apis, which takes both forms")
}

// routeConflict says which other file's API takes the same requests as api. The
// file that is replaced does not count.
func routeConflict(all []Loaded, api *API, replaced string) error {
	if !api.Active {
		return nil
	}
	for _, other := range all {
		if other.API != nil && other.API.Active && other.File != replaced && route(other.API) == route(api) {
			return conflict("%s is also the listen path of the API %q in %s; give each API its own listen path or domain",
				api.Form.Field("proxy.listen_path"), other.API.ID, other.File)
		}
	}
	return nil
}

func conflict(format string, arguments ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrConflict}, arguments...)...)
}

func oneFault(field, problem, next string) error {
	return jsonfile.NewError([]jsonfile.Fault{{File: bodyName, Field: field, Problem: problem, Next: next}})
}

// maxName is the longest id that becomes a file name, in bytes.
const maxName = 200

// unsafeName says why id cannot be a file name and part of a URL, or "".
func unsafeName(id string) string {
	ordinary := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}
	switch {
	case strings.ContainsFunc(id, func(r rune) bool { return !ordinary(r) }):
		return "has characters that a file name should not have"
	case strings.HasPrefix(id, "."):
		return "begins with a dot, which hides files"
	case len(id) > maxName:
		return fmt.Sprintf("is longer than %d characters", maxName)
	case strings.HasSuffix(strings.ToLower(id), "-oas"):
		return "ends in -oas, which marks the second file of Tyk's OAS definitions"
	case strings.EqualFold(id, "oas"):
		return "is the name of an endpoint"
	}
	return ""
}
