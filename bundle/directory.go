package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// directorySource is an unpacked bundle. Links may not leave the directory.
type directorySource struct {
	root   *os.Root
	limits Limits
}

func openDirectory(dir string, limits Limits) (*directorySource, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &directorySource{root: root, limits: limits}, nil
}

func (*directorySource) kind() string { return KindDirectory }

func (d *directorySource) close() error { return d.root.Close() }

func (d *directorySource) open(name string) (io.ReadCloser, error) {
	// Opening a pipe would wait for its other end, so look before.
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	return d.root.Open(name)
}

func (d *directorySource) names() ([]string, error) {
	var names []string
	err := fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && name != manifestName {
			names = append(names, name)
		}
		if len(names) > d.limits.Entries {
			return mark(ErrTooLarge, "more than %d files", d.limits.Entries)
		}
		return nil
	})
	return names, err
}

func (d *directorySource) manifest() ([]byte, error) {
	data, err := readManifest(d, d.limits)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, mark(ErrBroken, "there is no %s in the directory %s", manifestName, d.root.Name())
	}
	return data, err
}

// removeBytecode deletes the __pycache__ directories below dir: Python runs
// what is in them instead of the source, and no signature covers them.
func removeBytecode(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() || path.Base(name) != "__pycache__" {
			return nil
		}
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove bytecode that no signature covers: %w", err)
		}
		return fs.SkipDir
	})
}
