package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// FileInfo is one file of a bundle.
type FileInfo struct {
	// Name is the path in the bundle, separated by slashes.
	Name string
	// Size is in bytes.
	Size int64
	// SHA256 is lower-case hex.
	SHA256 string
}

// Report is what was found in a bundle.
type Report struct {
	// Path is what was read; Kind is KindZip or KindDirectory.
	Path, Kind string
	// Manifest is the bundle's manifest.
	Manifest *Manifest
	// Files are those of file_list, in its order.
	Files []FileInfo
	// Uncovered are the files that file_list does not name, sorted.
	Uncovered []string
	// Checksum is the one that the files have; Manifest.Checksum is the one
	// that the bundle claims.
	Checksum string
	// SignatureValid and ManifestSignatureValid say that the signature was
	// checked with a key and is good.
	SignatureValid, ManifestSignatureValid bool

	contentSum []byte // SHA-256 of the files, concatenated
	payload    []byte // what manifest_signature signs
}

// fingerprint is equal for bundles with the same manifest, files and
// signatures.
func (r *Report) fingerprint() string {
	sum := sha256.New()
	for _, part := range []string{string(r.payload), r.Manifest.Signature, "\n", r.Manifest.ManifestSignature} {
		_, _ = io.WriteString(sum, part) // a hash does not fail
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// WriteText writes the report for people to read.
func (r *Report) WriteText(w io.Writer) error {
	manifest := r.Manifest
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, value string) { _, _ = fmt.Fprintf(table, "%s:\t%s\n", name, value) } // Flush reports it
	line("bundle", fmt.Sprintf("%s (%s)", r.Path, r.Kind))
	line("driver", manifest.CustomMiddleware.Driver)
	if entry := manifest.Entry(); entry != "" {
		line("entry", entry)
	}
	line("hooks", strings.Join(hookNames(manifest), ", "))
	if strings.EqualFold(manifest.Checksum, r.Checksum) {
		line("checksum", r.Checksum+" (as the files)")
	} else {
		line("checksum", fmt.Sprintf("%q (WRONG, the files have %s)", manifest.Checksum, r.Checksum))
	}
	line("signature", signatureText(manifest.Signature, r.SignatureValid))
	line("manifest_signature", signatureText(manifest.ManifestSignature, r.ManifestSignatureValid))
	for _, name := range manifest.Unknown {
		line("unknown member", name)
	}
	for _, name := range r.Uncovered {
		line("not in file_list", name)
	}
	for _, file := range r.Files {
		line("file", fmt.Sprintf("%s (%d bytes, sha256 %s)", file.Name, file.Size, file.SHA256))
	}
	return table.Flush()
}

func signatureText(signature string, valid bool) string {
	switch {
	case signature == "":
		return "absent"
	case valid:
		return "valid"
	default:
		return "present, not checked (no key)"
	}
}
