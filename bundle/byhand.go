package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// handCopy is the private copy of a directory that somebody put there by hand.
// Code is loaded from the copy, because what is loaded needs its files as they
// were: it imports lazily, and a library that is mapped is found by its path.
type handCopy struct {
	sum     string // of the directory that was copied
	version string // "" when there was nowhere to copy it to
}

// private returns the place of a copy of the directory at original, the same one
// as long as the directory does not change. Where nothing can be written, as in
// an image, it returns original for as long as that does not change.
func (f *Fetcher) private(ctx context.Context, id string, original place) (place, error) {
	f.copying.Lock()
	defer f.copying.Unlock()
	sum, err := hashTree(ctx, original.dir, f.options.Limits)
	if err != nil {
		return place{}, err
	}
	last, known := f.copies[id]
	switch {
	case known && last.sum == sum && last.version == "":
		return original, nil
	case known && last.sum == sum:
		if _, err := os.Stat(last.version); err == nil {
			return place{dir: filepath.Join(last.version, id), version: last.version}, nil
		}
	case known && last.version == "":
		return place{}, errors.New("was changed since it was loaded, and nothing can be copied: make middleware_path writable, or restart the gateway")
	}
	version, unlock, err := f.shelf.create()
	if err != nil {
		f.copies[id] = handCopy{sum: sum}
		return original, nil // it is loaded where it is
	}
	defer unlock()
	dir := filepath.Join(version, id)
	if err := copyTree(ctx, original.dir, dir, f.options.Limits); err != nil {
		return place{}, errors.Join(err, os.RemoveAll(version))
	}
	f.copies[id] = handCopy{sum: sum, version: version}
	return place{dir: dir, version: version}, nil
}

// tree visits what is below dir in the order of names. Caches of bytecode are
// left out: nothing is loaded from them.
func tree(ctx context.Context, root *os.Root, limits Limits, visit func(name string, entry fs.DirEntry) error) error {
	entries := 0
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if entries++; entries > limits.withDefaults().Entries {
			return mark(ErrTooLarge, "more than %d files", limits.withDefaults().Entries)
		}
		if entry.IsDir() && path.Base(name) == "__pycache__" {
			return fs.SkipDir
		}
		return visit(name, entry)
	})
}

// hashTree returns a sum over names and contents of all that is below dir.
func hashTree(ctx context.Context, dir string, limits Limits) (_ string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	sum := sha256.New()
	counted := &budget{limits: limits.withDefaults()}
	err = tree(ctx, root, limits, func(name string, entry fs.DirEntry) error {
		_, _ = fmt.Fprintf(sum, "%q %s ", name, entry.Type()) // a hash does not fail
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := root.Readlink(name)
			_, _ = fmt.Fprintf(sum, "%q ", target)
			return err
		case entry.Type().IsRegular():
			return hashFile(root, name, counted, sum)
		}
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

func hashFile(root *os.Root, name string, counted *budget, sum hash.Hash) (err error) {
	in, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	n, err := io.Copy(sum, counted.reader(name, in))
	_, _ = fmt.Fprintf(sum, " %d\n", n)
	return err
}

// copyTree copies what is below dir to the new directory to. Links keep leading
// where they led.
func copyTree(ctx context.Context, dir, to string, limits Limits) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	counted := &budget{limits: limits.withDefaults()}
	return tree(ctx, root, limits, func(name string, entry fs.DirEntry) error {
		target := filepath.Join(to, filepath.FromSlash(name))
		switch {
		case entry.IsDir():
			return os.Mkdir(target, dirMode)
		case entry.Type()&fs.ModeSymlink != 0:
			return copyLink(root, dir, name, target)
		case entry.Type().IsRegular():
			return copyRegular(root, name, target, counted)
		}
		return nil // pipes and the like are no part of a bundle
	})
}

// copyLink makes a link that stays inside the tree relative, as it is, and one
// that leaves it absolute.
func copyLink(root *os.Root, dir, name, target string) error {
	to, err := root.Readlink(name)
	if err != nil {
		return err
	}
	if within := path.Join(path.Dir(name), filepath.ToSlash(to)); !filepath.IsAbs(to) && !filepath.IsLocal(within) {
		to = filepath.Join(dir, filepath.FromSlash(within))
	}
	return os.Symlink(to, target)
}

func copyRegular(root *os.Root, name, target string, counted *budget) (err error) {
	in, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode|info.Mode().Perm()&0o111)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, counted.reader(name, in))
	return err
}
