package watch_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/internal/output"
	"github.com/krait-gateway/krait/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait.
const patience = 20 * time.Second

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// start watches and returns a channel that has an element for each change.
func start(t *testing.T, config watch.Config) <-chan struct{} {
	t.Helper()
	changes := make(chan struct{}, 1000)
	config.Changed = func() { changes <- struct{}{} }
	if config.Quiet == 0 {
		config.Quiet = 20 * time.Millisecond
	}
	w, err := watch.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return changes
}

func changed(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(patience):
		require.Fail(t, "the change was not noticed")
	}
}

// drained waits until a witness file was noticed and nothing else comes.
func drained(t *testing.T, changes <-chan struct{}, witness string) {
	t.Helper()
	write(t, witness, time.Now().String())
	changed(t, changes)
	for {
		select {
		case <-changes:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

func TestChanges(t *testing.T) {
	for name, c := range map[string]struct {
		deep   bool
		before func(t *testing.T, dir string)
		change func(t *testing.T, dir string)
	}{
		"a file is written": {change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a.json"), "2") }},
		"a file is created": {change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "b.json"), "2") }},
		"a file is removed": {change: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "a.json"))) }},
		"a file is replaced": {change: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a.json.tmp"), "2")
			require.NoError(t, os.Rename(filepath.Join(dir, "a.json.tmp"), filepath.Join(dir, "a.json")))
		}},
		"a mounted configuration is swapped": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("elsewhere", filepath.Join(dir, "..data")))
		}},
		"a file in a directory": {
			deep:   true,
			before: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "plugin", "pkg", "m.py"), "1") },
			change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "plugin", "pkg", "m.py"), "2") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a.json"), "1")
			if c.before != nil {
				c.before(t, dir)
			}
			changes := start(t, watch.Config{Places: []watch.Place{{Path: dir, Deep: c.deep}}})
			c.change(t, dir)
			changed(t, changes)
		})
	}
}

func TestDirectoriesThatComeLaterAreWatched(t *testing.T) {
	dir := t.TempDir()
	changes := start(t, watch.Config{Places: []watch.Place{{Path: dir, Deep: true}}})
	write(t, filepath.Join(dir, "new", "pkg", "m.py"), "1")
	changed(t, changes)
	drained(t, changes, filepath.Join(dir, "witness"))
	write(t, filepath.Join(dir, "new", "pkg", "m.py"), "2")
	changed(t, changes)
}

func TestAPlaceIsReplaced(t *testing.T) {
	move := func(t *testing.T, from, to string) { t.Helper(); require.NoError(t, os.Rename(from, to)) }
	for name, c := range map[string]struct {
		deep   bool
		change func(t *testing.T, dir string)
	}{
		"removed and made again": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			write(t, filepath.Join(dir, "a.json"), "2")
		}},
		"moved away for another": {deep: true, change: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir+".new", "sub", "a.json"), "2")
			move(t, dir, dir+".old")
			move(t, dir+".new", dir)
		}},
		"a link that leads elsewhere now": {deep: true, change: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir+".2", "sub", "a.json"), "2")
			require.NoError(t, os.Symlink(filepath.Base(dir)+".2", dir+".tmp"))
			move(t, dir, dir+".1")
			move(t, dir+".tmp", dir)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "apps")
			write(t, filepath.Join(dir, "sub", "a.json"), "1")
			changes := start(t, watch.Config{Places: []watch.Place{{Path: dir, Deep: c.deep}}})
			c.change(t, dir)
			changed(t, changes)
			drained(t, changes, filepath.Join(dir, "witness"))
			write(t, filepath.Join(dir, "witness"), "2")
			changed(t, changes)
		})
	}
}

func TestARelativePlaceIsReplaced(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "apps/a.json", "1")
	changes := start(t, watch.Config{Places: []watch.Place{{Path: "apps"}}})
	require.NoError(t, os.Rename("apps", "old"))
	require.NoError(t, os.Mkdir("apps", 0o755))
	changed(t, changes)
	drained(t, changes, "apps/witness")
	write(t, "apps/witness", "2")
	changed(t, changes)
}

func TestLinkedDirectoriesAreWatched(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "source", "pkg", "m.py"), "1")
	require.NoError(t, os.Mkdir(filepath.Join(base, "bundles"), 0o755))
	for link, to := range map[string]string{"bundles/plugin": "../source", "link": "bundles", "source/pkg/up": "../..", "bundles/managed": "../source"} {
		require.NoError(t, os.Symlink(to, filepath.Join(base, link)))
	}
	changes := start(t, watch.Config{Places: []watch.Place{{Path: filepath.Join(base, "link"), Deep: true, Ignore: func(path string) bool {
		return filepath.Base(path) == "managed"
	}}}})
	write(t, filepath.Join(base, "source", "pkg", "m.py"), "2")
	changed(t, changes)
}

func TestNoiseIsIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{".git", "__pycache__", "venv"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	write(t, filepath.Join(dir, "venv", "pyvenv.cfg"), "")
	changes := start(t, watch.Config{Places: []watch.Place{{Path: dir, Deep: true, Ignore: func(path string) bool {
		return strings.HasSuffix(path, ".log")
	}}}})
	drained(t, changes, filepath.Join(dir, "witness"))
	for _, name := range []string{".a.py.swp", "a.py~", "4913", ".git/index", "__pycache__/a.pyc", "venv/bin/pip", "x.log", ".hidden.json"} {
		write(t, filepath.Join(dir, name), "x")
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "witness"), 0o640))
	require.Never(t, func() bool { return len(changes) > 0 }, 300*time.Millisecond, 10*time.Millisecond)
}

func TestFileIsWatchedAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "policies.json")
	write(t, file, "1")
	changes := start(t, watch.Config{Places: []watch.Place{{Path: file, Deep: true}}})
	write(t, filepath.Join(dir, "other.json"), "1")
	require.Never(t, func() bool { return len(changes) > 0 }, 200*time.Millisecond, 10*time.Millisecond)
	require.NoError(t, os.Rename(filepath.Join(dir, "other.json"), file))
	changed(t, changes)
}

func TestChangesThatComeTogetherAreOne(t *testing.T) {
	dir := t.TempDir()
	changes := start(t, watch.Config{Places: []watch.Place{{Path: dir}}, Quiet: 300 * time.Millisecond, Patience: time.Minute})
	for range 20 {
		write(t, filepath.Join(dir, "a"), time.Now().String())
	}
	changed(t, changes)
	require.Empty(t, changes)
}

func TestChangesThatNeverPauseAreToldOf(t *testing.T) {
	dir := t.TempDir()
	changes := start(t, watch.Config{Places: []watch.Place{{Path: dir}}, Quiet: time.Minute, Patience: 100 * time.Millisecond})
	require.Eventually(t, func() bool {
		write(t, filepath.Join(dir, "a"), time.Now().String())
		return len(changes) > 0
	}, patience, 10*time.Millisecond)
}

func TestWhatCannotBeWatchedIsLogged(t *testing.T) {
	var log output.Buffer
	dir := t.TempDir()
	for _, sub := range []string{"a", "b", "c"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	changes := start(t, watch.Config{
		Places: []watch.Place{{Path: filepath.Join(dir, "missing")}, {Path: dir, Deep: true}}, MostDirectories: 3,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.Contains(t, log.String(), "missing")
	require.Equal(t, 1, strings.Count(log.String(), "more than 3 directories"))
	write(t, filepath.Join(dir, "x"), "1")
	changed(t, changes)
}
