package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
)

// Unpack unpacks the zip at archive into the new directory dir and verifies
// what was written. dir appears complete and verified, or not at all: the work
// is done in a temporary directory beside it. Only manifest.json and the files
// of file_list are unpacked. dir must not exist.
func Unpack(ctx context.Context, archive, dir string, options VerifyOptions) (*Report, error) {
	report, err := unpack(ctx, archive, dir, options)
	if err != nil {
		return nil, fmt.Errorf("unpack bundle %q: %w", archive, err)
	}
	return report, nil
}

func unpack(ctx context.Context, archive, dir string, options VerifyOptions) (report *Report, err error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s: exists already", dir)
	}
	src, err := openZip(archive, options.Limits.withDefaults())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".unpack-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()

	if err := extract(ctx, src, temp, options); err != nil {
		return nil, err
	}
	// What is on disk is what counts, so that is what is verified.
	if report, err = verify(ctx, temp, options); err != nil {
		return nil, err
	}
	report.Path = dir
	if err := os.Chmod(temp, dirMode); err != nil {
		return nil, err
	}
	return report, os.Rename(temp, dir)
}

// extract writes the manifest and the files of file_list into dir.
func extract(ctx context.Context, src *zipSource, dir string, options VerifyOptions) (err error) {
	manifest, text, err := loadManifest(src)
	if err != nil {
		return err
	}
	if options.PublicKey != nil {
		extra, err := uncovered(src, manifest)
		if err != nil {
			return err
		}
		if len(extra) > 0 {
			return mark(ErrUncovered, "%s; no signature covers them: remove them or add them to file_list and build again", abridged(extra))
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.WriteFile(manifestName, text, fileMode); err != nil {
		return err
	}
	counted := &budget{limits: src.limits}
	for _, name := range manifest.files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := extractFile(root, src, name, counted); err != nil {
			return err
		}
	}
	return nil
}

func extractFile(root *os.Root, src *zipSource, name string, counted *budget) (err error) {
	in, err := src.open(name)
	if err != nil {
		return mark(ErrBroken, "%s: is in file_list but not in the zip", name)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := root.MkdirAll(path.Dir(name), dirMode); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, counted.reader(name, in))
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return mark(ErrBroken, "%s: %w", name, err)
	}
	return err
}
