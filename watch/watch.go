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
	config  Config
	files   *fsnotify.Watcher
	watched map[string]*Place // directories; belongs to the goroutine after New
	full    bool              // MostDirectories was reached
	done    sync.WaitGroup
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
	w := &Watcher{config: config, files: files, watched: make(map[string]*Place)}
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
	default:
		file, ignore := place.Path, place.Ignore
		place.Deep = false
		place.Ignore = func(path string) bool {
			return path != file && !isSwap(path) || ignore != nil && ignore(path)
		}
		w.add(filepath.Dir(file), &place)
	}
}

// add watches dir, and what is below it when place is deep.
func (w *Watcher) add(dir string, place *Place) {
	if !place.Deep {
		w.addOne(dir, place)
		return
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // it has gone meanwhile, or is nobody's business
		case !entry.IsDir():
			return nil
		case path != dir && (isNoise(path) || isEnvironment(path)):
			return fs.SkipDir
		}
		w.addOne(path, place)
		return nil
	})
	if err != nil {
		w.left(dir, err)
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
