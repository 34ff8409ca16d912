package bundle

import (
	"archive/zip"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// BuildConfig says what to build.
type BuildConfig struct {
	// Manifest is the path of the manifest. The files of its file_list are
	// beside it.
	Manifest string
	// Output is the path of the zip to write; it is replaced when it exists.
	Output string
	// Key signs the bundle; nil builds one without signatures.
	Key *rsa.PrivateKey
	// Limits bounds the bundle.
	Limits Limits
}

// Build packs, checksums and signs a bundle and returns what it holds. Output
// appears complete or not at all. The same input gives the same bytes (with
// the same version of Go, whose compressor is used): entries are in the order
// of file_list behind the manifest, with fixed times and modes. Members of the
// manifest that are not known are kept; seals it has already are replaced.
func Build(ctx context.Context, config BuildConfig) (*Report, error) {
	report, err := build(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("build bundle from %q: %w", config.Manifest, err)
	}
	return report, nil
}

func build(ctx context.Context, config BuildConfig) (report *Report, err error) {
	limits := config.Limits.withDefaults()
	manifest, err := readManifestFile(config.Manifest, limits)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(config.Manifest)
	if err := checkFiles(config, dir, manifest); err != nil {
		return nil, err
	}
	src, err := openDirectory(dir, limits)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.close()) }()

	report = &Report{Path: config.Output, Kind: KindZip, Manifest: manifest}
	if err := report.digest(ctx, src, limits); err != nil {
		return nil, err
	}
	if err := report.seal(config.Key); err != nil {
		return nil, err
	}
	return report, writeAtomically(config.Output, func(out io.Writer) error {
		return report.writeZip(ctx, out, src, limits)
	})
}

func readManifestFile(path string, limits Limits) (*Manifest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, mark(ErrNotFound, "%w; name the manifest with --manifest", err)
	}
	if !info.Mode().IsRegular() {
		return nil, mark(ErrBroken, "%s: is not a file; name the manifest with --manifest", path)
	}
	if info.Size() > limits.Manifest {
		return nil, mark(ErrTooLarge, "%s: more than %d bytes", path, limits.Manifest)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseManifest(path, data)
}

// checkFiles reports every file of file_list that cannot be packed.
func checkFiles(config BuildConfig, dir string, manifest *Manifest) (err error) {
	found := &faults{file: config.Manifest}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	output, _ := os.Stat(config.Output) // there need not be one yet
	for i, name := range manifest.files() {
		field := fmt.Sprintf("file_list[%d]", i)
		info, err := root.Stat(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
			found.add(field, fmt.Sprintf("%s does not exist", filepath.Join(dir, name)),
				"create it, or remove it from file_list")
		case err != nil:
			found.add(field, err.Error(), "name a readable file; links may not leave the manifest's directory")
		case info.IsDir():
			found.add(field, fmt.Sprintf("%s is a directory", filepath.Join(dir, name)), "list its files one by one")
		case !info.Mode().IsRegular():
			found.add(field, fmt.Sprintf("%s is a special file", filepath.Join(dir, name)), "list regular files")
		case output != nil && os.SameFile(info, output):
			found.add(field, fmt.Sprintf("%s is the output itself", filepath.Join(dir, name)),
				"remove it from file_list or choose another --output")
		}
	}
	return found.err()
}

// seal gives the manifest its checksum and, with a key, its signatures.
func (r *Report) seal(key *rsa.PrivateKey) (err error) {
	if key == nil {
		r.Manifest = r.Manifest.sealed(r.Checksum, "", "")
		r.payload = payload(r.Manifest, r.Files)
		return nil
	}
	if err := checkBits("the private key", &key.PublicKey); err != nil {
		return err
	}
	signature, err := sign(key, r.contentSum)
	if err != nil {
		return err
	}
	// The payload holds the checksum but neither signature.
	r.payload = payload(r.Manifest.sealed(r.Checksum, "", ""), r.Files)
	manifestSignature, err := sign(key, sha256Sum(r.payload))
	if err != nil {
		return err
	}
	r.Manifest = r.Manifest.sealed(r.Checksum, signature, manifestSignature)
	r.SignatureValid, r.ManifestSignatureValid = true, true
	return nil
}

func (r *Report) writeZip(ctx context.Context, out io.Writer, src *directorySource, limits Limits) error {
	text, err := r.Manifest.encode()
	if err != nil {
		return err
	}
	archive := zip.NewWriter(out)
	entry, err := archive.CreateHeader(entryHeader(manifestName))
	if err != nil {
		return err
	}
	if _, err := entry.Write(text); err != nil {
		return err
	}
	counted := &budget{limits: limits}
	for _, file := range r.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry, err := archive.CreateHeader(entryHeader(file.Name))
		if err != nil {
			return err
		}
		again, err := digestFile(src, file.Name, counted, entry)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name, err)
		}
		if again != file {
			return fmt.Errorf("%s: was changed while the bundle was built; build it again", file.Name)
		}
	}
	return archive.Close()
}

// entryHeader has the earliest time that a zip can hold, so that equal files
// make equal zips.
func entryHeader(name string) *zip.FileHeader {
	header := &zip.FileHeader{
		Name:     name,
		Method:   zip.Deflate,
		Modified: time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC),
	}
	header.SetMode(0o644)
	return header
}

// writeAtomically writes a file beside path and renames it to path.
func writeAtomically(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: exists and is not a file; choose another --output", path)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".bundle-*.tmp")
	if err != nil {
		var at *os.PathError // names a file that nobody asked for
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("--output %s: nothing can be written to the directory %s: %w; create it, or choose another --output",
			path, filepath.Dir(path), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if err := write(temp); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
