package watch

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/krait-gateway/krait/telemetry"
)

// Defaults of [Config].
const (
	// DefaultQuiet is how long nothing has to change before changes are told
	// of: editors write a file in several steps.
	DefaultQuiet = 200 * time.Millisecond
	// DefaultPatience is how long changes that do not pause are waited for.
	DefaultPatience = 2 * time.Second
	// DefaultMostDirectories bounds what is watched; the system's own limit is
	// shared with other programs.
	DefaultMostDirectories = 2000
)

// Place is something to watch.
type Place struct {
	// Path is a directory or a file.
	Path string
	// Deep watches the directories below Path too, but for hidden ones, caches
	// and virtual environments.
	Deep bool
	// Ignore says which paths in it do not matter; nil: all do.
	Ignore func(path string) bool
}

// Config says what to watch. 0 stands for the defaults.
type Config struct {
	Places []Place
	// Changed is called, never twice at a time, after something changed.
	Changed         func()
	Quiet, Patience time.Duration
	MostDirectories int
	// Logger gets what cannot be watched; nil: it is not logged.
	Logger *slog.Logger
}

// Watcher watches until it is closed. Make one with [New].
type Watcher struct {
	config Config
	files  *fsnotify.Watcher
	// What follows belongs to the goroutine after New.
	watched map[string]*Place // directories
	// roots are the directories of Places, by the path that leads to each. They
	// are watched from above too, because they may be replaced as a whole.
	roots map[string]*Place
	full  bool // MostDirectories was reached
	done  sync.WaitGroup
}

// New begins to watch. What is not there, or cannot be watched, is logged and
// left out; the error is that nothing can be watched.
func New(config Config) (*Watcher, error) {
	config.Quiet = cmp.Or(config.Quiet, DefaultQuiet)
	config.Patience = cmp.Or(config.Patience, DefaultPatience)
	config.MostDirectories = cmp.Or(config.MostDirectories, DefaultMostDirectories)
	config.Logger = cmp.Or(config.Logger, slog.New(slog.DiscardHandler))
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &Watcher{config: config, files: files, watched: make(map[string]*Place), roots: make(map[string]*Place)}
	for _, place := range config.Places {
		w.begin(place)
	}
	w.done.Go(w.run)
	return w, nil
}

// Close ends the watching. Changed is not called afterwards.
func (w *Watcher) Close() error {
	err := w.files.Close()
	w.done.Wait()
	return err
}

// begin watches a place. A file is watched by its directory: whoever replaces it
// makes another file.
func (w *Watcher) begin(place Place) {
	place.Path = filepath.Clean(place.Path)
	info, err := os.Stat(place.Path)
	switch {
	case err != nil:
		w.left(place.Path, err)
	case info.IsDir():
		w.add(place.Path, &place)
		w.roots[place.Path] = &place
		if above := filepath.Dir(place.Path); w.watched[above] == nil {
			if err := w.files.Add(above); err != nil {
				w.left(above, err)
			}
		}
	default:
		file, ignore := place.Path, place.Ignore
		place.Deep = false
		place.Ignore = func(path string) bool {
			return path != file && !isSwap(path) || ignore != nil && ignore(path)
		}
		w.add(filepath.Dir(file), &place)
	}
}

// add watches dir, and what is below it when place is deep. Links are followed:
// a plugin in development may be linked to from where bundles are.
func (w *Watcher) add(dir string, place *Place) {
	w.addOne(dir, place)
	if !place.Deep || w.watched[dir] == nil {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it has gone meanwhile, or is nobody's business
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if !entry.IsDir() && !w.isLinkedDir(path, entry, place) || isNoise(path) || isEnvironment(path) {
			continue
		}
		w.add(path, place)
	}
}

// isLinkedDir says whether path is a link to a directory that is to be watched,
// which one that the link is in is not: it would have no end.
func (w *Watcher) isLinkedDir(path string, entry fs.DirEntry, place *Place) bool {
	if entry.Type()&fs.ModeSymlink == 0 || place.Ignore != nil && place.Ignore(path) {
		return false
	}
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	for above := filepath.Dir(path); ; above = filepath.Dir(above) {
		if other, err := os.Stat(above); err == nil && os.SameFile(info, other) {
			return false
		}
		if above == filepath.Dir(above) {
			return true
		}
	}
}

func (w *Watcher) addOne(dir string, place *Place) {
	if len(w.watched) >= w.config.MostDirectories {
		if !w.full {
			w.full = true
			w.left(dir, fmt.Errorf("more than %d directories would be watched", w.config.MostDirectories))
		}
		return
	}
	if err := w.files.Add(dir); err != nil {
		w.left(dir, err)
		return
	}
	w.watched[dir] = place
}

func (w *Watcher) left(path string, err error) {
	w.config.Logger.Warn("changes there are not noticed", telemetry.KeyPath, path, telemetry.KeyError, err.Error())
}

// run calls Changed when changes have paused for Quiet, at the latest after
// Patience.
func (w *Watcher) run() {
	var first time.Time // of the changes that are not told of yet
	timer := time.NewTimer(w.config.Quiet)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case event, ok := <-w.files.Events:
			if !ok {
				return
			}
			if !w.matters(event) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(w.config.Quiet, max(0, w.config.Patience-time.Since(first))))
		case err, ok := <-w.files.Errors:
			if !ok {
				return
			}
			w.config.Logger.Warn("cannot watch files", telemetry.KeyError, err.Error())
			if errors.Is(err, fsnotify.ErrEventOverflow) { // something did change
				first = time.Now()
				timer.Reset(w.config.Quiet)
			}
		case <-timer.C:
			first = time.Time{}
			w.config.Changed()
		}
	}
}

// matters says whether event is a change, and watches new directories.
func (w *Watcher) matters(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false
	}
	if root := w.roots[filepath.Clean(event.Name)]; root != nil {
		return w.again(event, root)
	}
	place := w.watched[filepath.Dir(event.Name)]
	if place == nil {
		place = w.watched[event.Name] // the directory itself
	}
	if place == nil || isNoise(event.Name) || place.Ignore != nil && place.Ignore(event.Name) {
		return false
	}
	if event.Has(fsnotify.Remove) || event.Has(fsnotify.Rename) {
		delete(w.watched, event.Name)
	}
	if info, err := os.Lstat(event.Name); place.Deep && err == nil && info.IsDir() && event.Has(fsnotify.Create) {
		w.add(event.Name, place)
	}
	return true
}

// again watches the directory of a place anew, which was made, removed or
// replaced.
func (w *Watcher) again(event fsnotify.Event, place *Place) bool {
	if !event.Has(fsnotify.Create | fsnotify.Remove | fsnotify.Rename) {
		return false
	}
	for dir := range w.watched {
		if dir == place.Path || strings.HasPrefix(dir, place.Path+string(filepath.Separator)) {
			delete(w.watched, dir)
			_ = w.files.Remove(dir) // fails when it has gone, which is as good
		}
	}
	if info, err := os.Stat(place.Path); err == nil && info.IsDir() {
		w.add(place.Path, place)
	}
	return true
}

// isNoise recognises what editors, Python and version control write beside the
// files that matter.
func isNoise(path string) bool {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") {
		return !isSwap(path)
	}
	return slices.Contains([]string{"__pycache__", "node_modules", "4913"}, name) ||
		slices.Contains([]string{".swp", ".swo", ".swx", ".tmp", ".pyc"}, filepath.Ext(name)) || strings.HasSuffix(name, "~")
}

// isSwap recognises the links that mounted configuration is swapped with, such
// as ..data of Kubernetes.
func isSwap(path string) bool { return strings.HasPrefix(filepath.Base(path), "..") }

// isEnvironment recognises virtual environments.
func isEnvironment(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "pyvenv.cfg"))
	return err == nil
}
