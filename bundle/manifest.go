package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

// Manifest is manifest.json of a bundle.
type Manifest struct {
	// FileList names the files of the bundle, in the order of the checksum.
	FileList []string `json:"file_list"`
	// CustomMiddleware says which driver and which hooks.
	CustomMiddleware apidef.CustomMiddleware `json:"custom_middleware"`
	// Checksum is lower-case hex MD5, Signature and ManifestSignature are
	// base64; see the package documentation for what they cover.
	Checksum          string `json:"checksum"`
	Signature         string `json:"signature"`
	ManifestSignature string `json:"manifest_signature"`
	// Krait holds the settings that only this gateway reads.
	Krait Settings `json:"krait"`
	// Unknown lists the dotted paths of members that nothing here reads.
	// They are harmless: kept by [Build], covered by ManifestSignature.
	Unknown []string `json:"-"`

	// tree is the document as it was read, with every member.
	tree map[string]any
}

// Settings is the member "krait" of a manifest.
type Settings struct {
	// Timeout limits one call of a hook, as a Go duration such as "1.5s".
	// Empty means the gateway's hook_timeout. See [Settings.HookTimeout].
	Timeout string `json:"timeout"`
	// Serial lets one request at a time through the hooks of the bundle, from
	// its first hook to its last one.
	Serial bool `json:"serial"`
	// Isolation is "inprocess" or empty; "process" is not available.
	Isolation string `json:"isolation"`
	// Venv is the directory of a Python virtual environment.
	Venv string `json:"venv"`
}

// HookTimeout returns Timeout, or 0 when it is not set.
func (s Settings) HookTimeout() time.Duration {
	timeout, err := time.ParseDuration(s.Timeout)
	if err != nil {
		return 0 // ParseManifest refuses a manifest with a bad one
	}
	return timeout
}

// Entry returns the file that is loaded first: middleware.py, or else the
// first file of file_list. It is "" when the bundle has no files.
func (m *Manifest) Entry() string {
	for _, name := range m.FileList {
		if clean, _ := cleanEntry(name); clean == defaultEntry {
			return clean
		}
	}
	if len(m.FileList) == 0 {
		return ""
	}
	clean, _ := cleanEntry(m.FileList[0])
	return clean
}

// ParseManifest reads and validates a manifest. file names it in messages. All
// faults are reported together as a [*jsonfile.Error]. A leading byte order
// mark is tolerated.
func ParseManifest(file string, data []byte) (*Manifest, error) {
	tree, err := jsonfile.Parse(file, data)
	if err != nil {
		return nil, err
	}
	manifest := &Manifest{tree: tree}
	found := &faults{file: file}
	checkCanonical("", tree, found)
	manifest.Unknown, err = jsonfile.Bind(file, tree, manifest)
	found.list = append(found.list, jsonfile.Faults(file, err)...)
	if err == nil {
		manifest.validate(found)
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	return manifest, nil
}

// files returns the cleaned paths of file_list.
func (m *Manifest) files() []string {
	names := make([]string, 0, len(m.FileList))
	for _, name := range m.FileList {
		clean, _ := cleanEntry(name) // validate refused bad ones
		names = append(names, clean)
	}
	return names
}

// canonical returns the canonical manifest: what the package documentation
// says, without the two signatures.
func (m *Manifest) canonical() []byte {
	covered := maps.Clone(m.tree)
	delete(covered, "signature")
	delete(covered, "manifest_signature")
	return appendCanonical(nil, covered)
}

// sealed returns a copy of m with other seals.
func (m *Manifest) sealed(checksum, signature, manifestSignature string) *Manifest {
	sealed := *m
	sealed.Checksum, sealed.Signature, sealed.ManifestSignature = checksum, signature, manifestSignature
	sealed.tree = maps.Clone(m.tree)
	sealed.tree["checksum"] = checksum
	sealed.tree["signature"] = signature
	if manifestSignature == "" {
		delete(sealed.tree, "manifest_signature")
	} else {
		sealed.tree["manifest_signature"] = manifestSignature
	}
	return &sealed
}

// encode returns m as the text of a manifest.json, with every member it was
// read with. Members are sorted, so that equal manifests have equal texts.
func (m *Manifest) encode() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m.tree); err != nil {
		return nil, fmt.Errorf("encode %s: %w", manifestName, err)
	}
	return out.Bytes(), nil
}

// Set is the bundles that one API lists in custom_middleware_bundle.
type Set struct {
	// Driver is the one driver of all of them.
	Driver string
	// Bundles are in the order in which they are listed.
	Bundles []*Bundle
	// AuthCheck is the bundle that has the auth_check hook, nil when none has.
	AuthCheck *Bundle
	// IDExtractor is the bundle whose id_extractor counts: the first that has
	// one which is not disabled; nil when none has.
	IDExtractor *Bundle
}

// Combine checks that bundles can serve one API together (contract section 5):
// the same driver, at most one auth_check; the first id_extractor wins. All
// faults are in the error, which is an [ErrUnsupported].
func Combine(bundles []*Bundle) (*Set, error) {
	set := &Set{Bundles: slices.Clone(bundles)}
	var found []error
	for _, bundle := range bundles {
		middleware := &bundle.Manifest.CustomMiddleware
		driver := middleware.Driver
		switch {
		case set.Driver == "":
			set.Driver = driver
		case set.Driver != driver:
			found = append(found, fmt.Errorf("bundle %q has the driver %q and %q has %q; use one driver for all of them",
				bundle.Name, driver, bundles[0].Name, set.Driver))
		}
		if middleware.AuthCheck.Runs() {
			if set.AuthCheck == nil {
				set.AuthCheck = bundle
			} else {
				found = append(found, fmt.Errorf("bundle %q has an auth_check and so has %q; remove one of them",
					bundle.Name, set.AuthCheck.Name))
			}
		}
		if set.IDExtractor == nil && middleware.IDExtractor.Runs() {
			set.IDExtractor = bundle
		}
	}
	if len(found) > 0 {
		return nil, mark(ErrUnsupported, "%w", errors.Join(found...))
	}
	return set, nil
}

// kraitMember reports whether path is a member of the "krait" object.
func kraitMember(path string) bool { return strings.HasPrefix(path, "krait.") }
