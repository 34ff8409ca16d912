package bridge

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // probe.py
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNoPython says that no usable Python was found; the error text lists what
// was tried and why each was left.
var ErrNoPython = errors.New("no usable Python was found")

const (
	oldestMinor  = 9  // CPython 3.9
	newestMinor  = 14 // the newest that the tests run with
	probeTimeout = 20 * time.Second
)

// Search says which Python to look for. The zero value takes the first usable
// one on PATH, then in the usual directories.
type Search struct {
	// Version is 3.11 or 3.11.2; empty means any from 3.9 on.
	Version string
	// Home is the directory of a Python installation; nothing else is tried.
	Home string
	// Venv is the directory of a virtual environment; nothing else is tried.
	Venv string
}

// Candidate is a Python that was looked at.
type Candidate struct {
	// Interpreter is the path of the executable; empty for a bare library.
	Interpreter string
	// Library is the path of libpython; empty when there is none.
	Library string
	// Version is the interpreter's, for example 3.11.2; empty if unknown.
	Version string
	// Protobuf is the version of its protobuf package; empty when it has none
	// or nobody could ask.
	Protobuf string
	// Source says what led to it, for example "PATH".
	Source string
	// Rejected says why it is not used; empty for the one that is.
	Rejected string
}

// Found is the outcome of a search: the Python to use and all that was looked
// at, in order.
type Found struct {
	Candidate
	Tried []Candidate
	// Warning is worth telling an operator; mostly empty.
	Warning string
}

//go:embed probe.py
var probeScript string

// probe is what probe.py prints.
type probe struct {
	Version            string   `json:"version"`
	Implementation     string   `json:"implementation"`
	Executable         string   `json:"executable"`
	Mapped             string   `json:"mapped"`
	LibraryDirectories []string `json:"library_directories"`
	LibraryNames       []string `json:"library_names"`
	Protobuf           string   `json:"protobuf"`
}

// Find looks for the Python that s describes. Interpreters are asked where
// their libpython is, since the python3 on PATH and the system's libpython
// need not be one installation.
func Find(ctx context.Context, s Search) (Found, error) {
	var found Found
	for _, place := range s.places() {
		candidate := place.look(ctx, s)
		found.Tried = append(found.Tried, candidate)
		if candidate.Rejected == "" {
			found.Candidate = candidate
			found.Warning = ageWarning(candidate.Version)
			return found, nil
		}
	}
	return found, fmt.Errorf("%w: %s%s", ErrNoPython, s.describe(), explain(found.Tried))
}

func (s Search) describe() string {
	switch {
	case s.Venv != "":
		return "looked in the virtual environment " + s.Venv
	case s.Home != "":
		return "looked in python_home " + s.Home
	case s.Version != "":
		return "looked for version " + s.Version + " on PATH and in the usual directories"
	default:
		return "looked on PATH and in the usual directories"
	}
}

func explain(tried []Candidate) string {
	if len(tried) == 0 {
		return "; there was none. Install one with its shared library (Debian, Ubuntu: apt-get install python3-dev python3-venv)"
	}
	var b strings.Builder
	for _, c := range tried {
		fmt.Fprintf(&b, "; %s: %s", cmp.Or(c.Interpreter, c.Library), c.Rejected)
	}
	return b.String()
}

func ageWarning(version string) string {
	if minor, ok := minorVersion(version); ok && minor > newestMinor {
		return fmt.Sprintf("Python %s is newer than the newest version that krait is tested with (3.%d)", version, newestMinor)
	}
	return ""
}

// place is an interpreter or a bare library to look at.
type place struct {
	interpreter, library, source string
}

func (s Search) places() []place {
	if s.Venv != "" {
		return []place{{interpreter: firstFile(s.Venv+"/bin/python3", s.Venv+"/bin/python"), source: "venv"}}
	}
	if s.Home != "" {
		return s.homePlaces()
	}
	var places []place
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		for _, name := range s.names() {
			if path := filepath.Join(dir, name); isFile(path) {
				places = append(places, place{interpreter: path, source: "PATH"})
			}
		}
	}
	for _, name := range s.names() {
		for _, dir := range []string{"/usr/bin", "/usr/local/bin"} {
			if path := filepath.Join(dir, name); isFile(path) {
				places = append(places, place{interpreter: path, source: "usual directory"})
			}
		}
	}
	for _, pattern := range []string{
		"/usr/lib/*/libpython3.*.so.1.0", "/usr/lib64/libpython3.*.so.1.0",
		"/usr/lib/libpython3.*.so.1.0", "/usr/local/lib/libpython3.*.so.1.0",
	} {
		libraries, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, library := range libraries {
			places = append(places, place{library: library, source: "usual directory"})
		}
	}
	return unique(places)
}

func (s Search) homePlaces() []place {
	for _, name := range s.names() {
		if path := filepath.Join(s.Home, "bin", name); isFile(path) {
			return []place{{interpreter: path, source: "python_home"}}
		}
	}
	return []place{{interpreter: filepath.Join(s.Home, "bin", "python3"), source: "python_home"}}
}

// names lists the executables to look for in a directory.
func (s Search) names() []string {
	if s.Version == "" {
		return []string{"python3"}
	}
	parts := strings.SplitN(s.Version, ".", 3)
	if len(parts) < 2 {
		return []string{"python" + s.Version}
	}
	return []string{"python" + parts[0] + "." + parts[1], "python3"}
}

// unique drops places that are reached twice: /bin is often /usr/bin. Only
// directories are resolved, for a virtual environment's python3 is a link to
// an interpreter that has other packages.
func unique(places []place) []place {
	seen := make(map[string]bool)
	return slices.DeleteFunc(places, func(p place) bool {
		dir, name := filepath.Split(cmp.Or(p.interpreter, p.library))
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			dir = resolved
		}
		path := filepath.Join(dir, name)
		if seen[path] {
			return true
		}
		seen[path] = true
		return false
	})
}

func (p place) look(ctx context.Context, s Search) Candidate {
	c := Candidate{Interpreter: p.interpreter, Library: p.library, Source: p.source}
	if p.interpreter == "" {
		c.Version = libraryVersion(p.library)
		c.Rejected = s.rejectVersion(c.Version)
		return c
	}
	answer, err := ask(ctx, p.interpreter)
	if err != nil {
		c.Rejected = err.Error()
		return c
	}
	c.Version, c.Protobuf = answer.Version, answer.Protobuf
	c.Interpreter = cmp.Or(answer.Executable, c.Interpreter)
	c.Library = answer.library()
	c.Rejected = s.reject(c, answer)
	return c
}

func (s Search) reject(c Candidate, answer probe) string {
	if answer.Implementation != "cpython" {
		return "is " + answer.Implementation + ", not CPython"
	}
	if reason := s.rejectVersion(c.Version); reason != "" {
		return reason
	}
	if c.Library == "" {
		return fmt.Sprintf("Python %s has no shared libpython (looked for %s in %s); install it (Debian, Ubuntu: apt-get install libpython%s) or use a Python built with --enable-shared",
			c.Version, strings.Join(answer.LibraryNames, ", "), strings.Join(answer.LibraryDirectories, ", "), majorMinor(c.Version))
	}
	if c.Protobuf == "" {
		return fmt.Sprintf("Python %s lacks the package protobuf; run: %s -m pip install protobuf", c.Version, c.Interpreter)
	}
	return ""
}

func (s Search) rejectVersion(version string) string {
	minor, ok := minorVersion(version)
	switch {
	case !ok:
		return fmt.Sprintf("has the unknown version %q", version)
	case minor < oldestMinor:
		return fmt.Sprintf("is Python %s; 3.%d or later is needed", version, oldestMinor)
	case s.Version != "" && version != s.Version && !strings.HasPrefix(version, s.Version+"."):
		return fmt.Sprintf("is Python %s, not the configured python_version %s", version, s.Version)
	default:
		return ""
	}
}

// library returns the path of the interpreter's libpython, or "".
func (p probe) library() string {
	if p.Mapped != "" && isFile(p.Mapped) {
		return p.Mapped
	}
	for _, dir := range p.LibraryDirectories {
		for _, name := range p.LibraryNames {
			if path := filepath.Join(dir, name); isFile(path) {
				return path
			}
		}
	}
	return ""
}

func ask(ctx context.Context, interpreter string) (probe, error) {
	var answer probe
	if !isFile(interpreter) {
		return answer, errors.New("there is no such file")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, interpreter, "-I", "-c", probeScript)
	command.Stdout, command.Stderr = &stdout, &stderr
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return answer, fmt.Errorf("could not be run: %w %s", err, lastLine(stderr.String()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		return answer, fmt.Errorf("gave an unreadable answer: %w", err)
	}
	return answer, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// libraryVersion reads 3.11 out of .../libpython3.11.so.1.0.
func libraryVersion(path string) string {
	name := strings.TrimPrefix(filepath.Base(path), "libpython")
	version, _, _ := strings.Cut(name, ".so")
	return version
}

// minorVersion returns 11 for 3.11.2 and false for what is not Python 3.
func minorVersion(version string) (int, bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 || parts[0] != "3" {
		return 0, false
	}
	minor, err := strconv.Atoi(strings.TrimRight(parts[1], "tdmu")) // ABI flags of a library's name
	return minor, err == nil
}

func majorMinor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func firstFile(paths ...string) string {
	for _, path := range paths {
		if isFile(path) {
			return path
		}
	}
	return paths[0]
}
