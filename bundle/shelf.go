package bundle

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	privateDir    = ".krait"
	versionPrefix = "v-"
	stateName     = "state.json"
	archiveName   = "archive.zip"
)

// shelf is the directory in which a Fetcher keeps bundles; its layout is in
// the package documentation. It is safe for concurrent use, also by several
// processes.
type shelf struct {
	dir string // absolute

	mu   sync.Mutex
	held map[*os.File]struct{} // locks, kept from the garbage collector
}

// place is where one version of a bundle is.
type place struct {
	// dir holds the bundle's files.
	dir string
	// version is the private directory around dir; empty for a directory that
	// somebody else put there.
	version string
}

// download is what is remembered of how a version was obtained.
type download struct {
	// Source is the SHA-256 of the address, which may hold credentials.
	Source string `json:"source"`
	// ETag and LastModified are the validators of RFC 9110 section 8.8;
	// LastModified is empty when it is too recent to tell two versions apart.
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func newShelf(dir string) (*shelf, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &shelf{dir: absolute, held: make(map[*os.File]struct{})}, nil
}

// lookup returns where the bundle with this id is; an ErrNotFound when there
// is none.
func (s *shelf) lookup(id string) (place, error) {
	path := filepath.Join(s.dir, id)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, mark(ErrNotFound, "there is no %s", path)
	}
	if err != nil {
		return place{}, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if version, ok := s.linked(id); ok {
			return place{dir: filepath.Join(version, id), version: version}, nil
		}
		// An operator's link; what it leads to may change under its name, so
		// plugin code gets the real one.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return place{}, mark(ErrBroken, "%w", err)
		}
		if info, err = os.Stat(path); err != nil {
			return place{}, err
		}
	}
	if !info.IsDir() {
		return place{}, mark(ErrBroken, "%s is not a directory; remove it", path)
	}
	return place{dir: path}, nil
}

// linked returns the private directory that Dir/<id> leads to.
func (s *shelf) linked(id string) (version string, ok bool) {
	target, err := os.Readlink(filepath.Join(s.dir, id))
	if err != nil {
		return "", false
	}
	name, found := strings.CutPrefix(filepath.ToSlash(target), privateDir+"/")
	name, below := strings.CutSuffix(name, "/"+id)
	if !found || !below || !strings.HasPrefix(name, versionPrefix) || strings.Contains(name, "/") {
		return "", false
	}
	return filepath.Join(s.dir, privateDir, name), true
}

// create makes an empty private directory and locks it. The caller unlocks it.
func (s *shelf) create() (version string, unlock func(), err error) {
	private := filepath.Join(s.dir, privateDir)
	if err := os.MkdirAll(private, dirMode); err != nil {
		return "", nil, s.unwritable(err)
	}
	// Another process may take the new directory for a leftover before it is
	// locked; its cleaning up is over by the next attempt.
	for range 3 {
		version, err = os.MkdirTemp(private, versionPrefix)
		if err != nil {
			return "", nil, s.unwritable(err)
		}
		unlock, ok, err := s.lock(version)
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(version))
		}
		if ok {
			return version, unlock, os.Chmod(version, dirMode)
		}
	}
	return "", nil, fmt.Errorf("%s: new directories vanish; another process cleans up there", private)
}

func (s *shelf) unwritable(err error) error {
	return fmt.Errorf("middleware_path: bundles cannot be written to %s: %w; set middleware_path to a directory that this process may write to",
		s.dir, err)
}

// CheckDir reports whether a [Fetcher] could write bundles to dir, which need
// not exist yet. It leaves nothing behind.
func CheckDir(dir string) error {
	s, err := newShelf(dir)
	if err != nil {
		return err
	}
	// What is missing would be made in the closest directory that is there.
	closest := filepath.Join(s.dir, privateDir)
	for {
		_, err := os.Stat(closest)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || closest == filepath.Dir(closest) {
			break // what is wrong with it shows below
		}
		closest = filepath.Dir(closest)
	}
	probe, err := os.MkdirTemp(closest, "check-")
	if err != nil {
		return s.unwritable(err)
	}
	return os.Remove(probe)
}

// lock marks version as in use until unlock is called, which may be done more
// than once. ok is false when version is gone.
func (s *shelf) lock(version string) (unlock func(), ok bool, err error) {
	if version == "" {
		return func() {}, true, nil
	}
	file, err := lockDirectory(version)
	if err != nil || file == nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[file] = struct{}{}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.held[file]; ok {
			delete(s.held, file)
			_ = file.Close() // opened for reading: nothing can be lost
		}
	}), true, nil
}

// unlockAll lets every lock of this process go.
func (s *shelf) unlockAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for file := range s.held {
		delete(s.held, file)
		_ = file.Close() // as above
	}
}

// install puts version into service as id with one rename, and returns where
// it moved what an operator had put there, if anything.
func (s *shelf) install(id, version string) (replaced string, err error) {
	path := filepath.Join(s.dir, id)
	suffix := rand.Text()
	link := filepath.Join(s.dir, privateDir, "link-"+suffix)
	// The target is relative to where the link ends up.
	target := filepath.Join(privateDir, filepath.Base(version), id)
	if err := os.Symlink(target, link); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(link))
		}
	}()
	_, err = os.Lstat(path)
	if _, ours := s.linked(id); err == nil && !ours {
		replaced = filepath.Join(s.dir, privateDir, "replaced-"+id+"-"+suffix)
		if err := os.Rename(path, replaced); err != nil {
			return "", err
		}
	}
	if err := os.Rename(link, path); err != nil {
		if replaced != "" {
			err = errors.Join(err, os.Rename(replaced, path))
		}
		return "", err
	}
	return replaced, nil
}

// prune removes version unless it is in service or in use.
func (s *shelf) prune(version string) error {
	if version == "" {
		return nil
	}
	return removeUnused(version, func() bool { return s.inService(version) })
}

// inService reports whether a link leads to version.
func (s *shelf) inService(version string) bool {
	entries, err := os.ReadDir(version)
	if err != nil {
		return true // better a leftover than a bundle lost
	}
	for _, entry := range entries {
		if linked, ok := s.linked(entry.Name()); ok && linked == version {
			return true
		}
	}
	return false
}

// clean removes what processes that died left behind.
func (s *shelf) clean() error {
	private := filepath.Join(s.dir, privateDir)
	entries, err := os.ReadDir(private)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		path := filepath.Join(private, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), versionPrefix):
			failed = append(failed, s.prune(path))
		case strings.HasPrefix(entry.Name(), "link-"):
			// Another process may be about to rename a young one.
			info, err := entry.Info()
			if err == nil && time.Since(info.ModTime()) > time.Minute {
				failed = append(failed, os.Remove(path))
			}
		}
	}
	return errors.Join(failed...)
}

// readState returns what is remembered of version; the zero value when
// nothing is.
func readState(version string) download {
	var state download
	data, err := os.ReadFile(filepath.Join(version, stateName))
	if err != nil || json.Unmarshal(data, &state) != nil {
		return download{} // it only saves a download
	}
	return state
}

func writeState(version string, state download) error {
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	temp := filepath.Join(version, stateName+"."+rand.Text())
	if err := os.WriteFile(temp, data, fileMode); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(version, stateName))
}
