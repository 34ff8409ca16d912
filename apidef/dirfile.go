package apidef

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// newFileMode is for definitions that are new: they may hold secrets.
const newFileMode = 0o600

// create writes a file that must not be there yet.
func (d *Dir) create(name string, data []byte) error {
	return d.within(func(root *os.Root) error {
		switch _, err := root.Lstat(name); {
		case err == nil:
			return conflict("the file %s is already there, with another API or none in it; repair or remove it, or choose another id", filepath.Join(d.path, name))
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		return write(root, name, data, newFileMode)
	})
}

// replace writes a file that is there. A link is left alone: what manages the
// file that it leads to would undo the change.
func (d *Dir) replace(name string, data []byte) error {
	return d.within(func(root *os.Root) error {
		info, err := d.plain(root, name)
		if err != nil {
			return err
		}
		return write(root, name, data, info.Mode().Perm())
	})
}

// remove deletes a file. Of the two that Tyk writes for an OAS definition the
// one that does not count goes first: alone it would be a broken definition.
func (d *Dir) remove(name string) error {
	return d.within(func(root *os.Root) error {
		if _, err := d.plain(root, name); err != nil {
			return err
		}
		if base, ok := strings.CutSuffix(name, "-oas.json"); ok && saysOAS(filepath.Join(d.path, base+".json")) {
			if _, err := d.plain(root, base+".json"); err != nil {
				return err
			}
			if err := root.Remove(base + ".json"); err != nil {
				return err
			}
		}
		if err := root.Remove(name); err != nil {
			return err
		}
		return syncDir(root)
	})
}

// within runs change on the directory, which no path leads out of.
func (d *Dir) within(change func(*os.Root) error) error {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return fmt.Errorf("open the directory of API definitions: %w", err)
	}
	defer root.Close()
	if err := change(root); err != nil {
		if errors.Is(err, ErrConflict) {
			return err
		}
		return fmt.Errorf("change API definitions in %s: %w", d.path, err)
	}
	return nil
}

// plain returns what name is, if it is no link.
func (d *Dir) plain(root *os.Root, name string) (fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, conflict("%s is a link or no plain file; change what it leads to", filepath.Join(d.path, name))
	}
	return info, err
}

// write puts data into name so that whoever reads it sees the old content or
// the new one, also after a crash.
func write(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	temporary := ".krait-" + hex.EncodeToString(random[:]) + ".tmp"
	err := writeTemporary(root, temporary, data, mode)
	if err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(err, removeLeft(root, temporary))
	}
	// The change is made; only a crash of the machine could still undo it.
	return syncDir(root)
}

func writeTemporary(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err = file.Write(data); err == nil {
		err = file.Chmod(mode) // whatever the umask took
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func removeLeft(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
