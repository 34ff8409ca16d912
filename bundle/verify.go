package bundle

import (
	"context"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

const payloadHeader = "krait-bundle-v1\n"

// VerifyOptions says what a bundle has to fulfil.
type VerifyOptions struct {
	// PublicKey, when set, refuses bundles that are not signed with it.
	PublicKey *rsa.PublicKey
	// RequireManifestSignature refuses bundles without manifest_signature.
	// It needs a PublicKey.
	RequireManifestSignature bool
	// Limits bounds what is read.
	Limits Limits
}

func (o VerifyOptions) validate() error {
	if o.RequireManifestSignature && o.PublicKey == nil {
		return errors.New("require_manifest_signature: is set without a key; set public_key_path")
	}
	return nil
}

// Inspect reads the bundle at path, a zip or an unpacked directory, and reports
// what is in it. It judges neither checksum nor signatures; see [Verify].
func Inspect(ctx context.Context, path string, limits Limits) (*Report, error) {
	report, err := inspect(ctx, path, limits.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("bundle %q: %w", path, err)
	}
	return report, nil
}

// Verify reads the bundle at path, a zip or an unpacked directory, and checks
// its manifest, checksum and, with a key, its signatures. The error holds one
// of this package's errors, or a [*jsonfile.Error] for the manifest.
func Verify(ctx context.Context, path string, options VerifyOptions) (*Report, error) {
	report, err := verify(ctx, path, options)
	if err != nil {
		return nil, fmt.Errorf("bundle %q: %w", path, err)
	}
	return report, nil
}

func verify(ctx context.Context, path string, options VerifyOptions) (*Report, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	report, err := inspect(ctx, path, options.Limits.withDefaults())
	if err != nil {
		return nil, err
	}
	return report, report.check(options)
}

func inspect(ctx context.Context, path string, limits Limits) (report *Report, err error) {
	src, err := openSource(path, limits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	manifest, _, err := loadManifest(src)
	if err != nil {
		return nil, err
	}
	report = &Report{Path: path, Kind: src.kind(), Manifest: manifest}
	if err := report.digest(ctx, src, limits); err != nil {
		return nil, err
	}
	report.Uncovered, err = uncovered(src, manifest)
	return report, err
}

// loadManifest returns the manifest of a source and its text.
func loadManifest(src source) (*Manifest, []byte, error) {
	data, err := src.manifest()
	if err != nil {
		return nil, nil, err
	}
	manifest, err := ParseManifest(manifestName, data)
	return manifest, data, err
}

// uncovered returns the files of src that file_list does not name.
func uncovered(src source, manifest *Manifest) ([]string, error) {
	names, err := src.names()
	if err != nil {
		return nil, err
	}
	listed := make(map[string]bool)
	for _, name := range manifest.files() {
		listed[name] = true
	}
	var extra []string
	for _, name := range names {
		if !listed[name] {
			extra = append(extra, name)
		}
	}
	return extra, nil
}

// digest reads every file once and fills in all that is computed from them.
func (r *Report) digest(ctx context.Context, src source, limits Limits) error {
	checksum := md5.New()
	content := sha256.New()
	all := io.MultiWriter(checksum, content)
	counted := &budget{limits: limits}
	var broken []error
	for _, name := range r.Manifest.files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := digestFile(src, name, counted, all)
		switch {
		case errors.Is(err, ErrTooLarge):
			return err
		case errors.Is(err, fs.ErrNotExist):
			broken = append(broken, fmt.Errorf("%s: is in file_list but not in the bundle", name))
		case err != nil:
			broken = append(broken, fmt.Errorf("%s: %w", name, err))
		}
		r.Files = append(r.Files, info)
	}
	if len(broken) > 0 {
		return mark(ErrBroken, "%w", errors.Join(broken...))
	}
	r.Checksum = hex.EncodeToString(checksum.Sum(nil))
	r.contentSum = content.Sum(nil)
	r.payload = payload(r.Manifest, r.Files)
	return nil
}

func digestFile(src source, name string, counted *budget, all io.Writer) (info FileInfo, err error) {
	file, err := src.open(name)
	if err != nil {
		return FileInfo{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(all, sum), counted.reader(name, file))
	if err != nil {
		return FileInfo{}, err
	}
	return FileInfo{Name: name, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// payload returns what manifest_signature signs; files is in the order of
// file_list.
func payload(manifest *Manifest, files []FileInfo) []byte {
	out := append([]byte(payloadHeader), manifest.canonical()...)
	out = append(out, '\n')
	for i, file := range files {
		out = append(append(out, file.SHA256...), ' ')
		out = append(strconv.AppendInt(out, file.Size, 10), ' ')
		out = append(appendString(out, manifest.FileList[i]), '\n')
	}
	return out
}

// check judges a digested bundle by options and notes what was verified.
func (r *Report) check(options VerifyOptions) error {
	manifest := r.Manifest
	switch {
	case manifest.Checksum == "":
		return mark(ErrBadChecksum, `%s: checksum: is missing; "krait bundle build" writes it`, manifestName)
	case !strings.EqualFold(manifest.Checksum, r.Checksum):
		return mark(ErrBadChecksum, "%s: checksum: is %q but the files have %s; they were changed after the bundle was built, build it again",
			manifestName, manifest.Checksum, r.Checksum)
	}
	if options.PublicKey == nil {
		return nil
	}
	if len(r.Uncovered) > 0 {
		return mark(ErrUncovered, "%s; no signature covers them: remove them or add them to file_list and build again", abridged(r.Uncovered))
	}
	return r.checkSignatures(options)
}

func (r *Report) checkSignatures(options VerifyOptions) error {
	manifest := r.Manifest
	const next = `sign it with "krait bundle build --key"`
	if manifest.Signature == "" && len(r.Files) > 0 {
		return mark(ErrUnsigned, "%s: signature: is missing and a public key is set; %s", manifestName, next)
	}
	if manifest.ManifestSignature == "" {
		if len(r.Files) == 0 {
			return mark(ErrUnsigned, "%s: manifest_signature: is missing; signature covers nothing in a bundle without files; %s", manifestName, next)
		}
		if options.RequireManifestSignature {
			return mark(ErrUnsigned, "%s: manifest_signature: is missing and require_manifest_signature is set; %s", manifestName, next)
		}
	}
	if manifest.Signature != "" {
		if err := checkSignature(options.PublicKey, "signature", manifest.Signature, r.contentSum); err != nil {
			return err
		}
		r.SignatureValid = true
	}
	if manifest.ManifestSignature != "" {
		if err := checkSignature(options.PublicKey, "manifest_signature", manifest.ManifestSignature, sha256Sum(r.payload)); err != nil {
			return err
		}
		r.ManifestSignatureValid = true
	}
	return nil
}

// abridged lists a few names.
func abridged(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
