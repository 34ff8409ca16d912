package bundle

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	manifestName = "manifest.json"
	defaultEntry = "middleware.py"

	maxNameLength = 1024
)

// ID returns the id of the bundle named name: the lower-case hex MD5 of the
// name. It is what plugins see as bundle_hash and the directory's name.
func ID(name string) string {
	sum := md5.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

// CheckName reports whether name can name a bundle: a path relative to the
// bundle_base_url, such as "bundle.zip" or "team/bundle.zip". The error is an
// [ErrName].
func CheckName(name string) error {
	problem := ""
	switch {
	case name == "":
		problem = "it is empty"
	case strings.Contains(name, "://"):
		problem = "it is a URL; give the server in bundle_base_url and here only the path below it"
	default:
		problem = pathProblem(name)
	}
	if problem == "" {
		return nil
	}
	return fmt.Errorf("bundle %q: %w", name, mark(ErrName, "%s", problem))
}

// pathProblem says why name is not a plain relative slash-separated path, or
// returns "".
func pathProblem(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > maxNameLength:
		return fmt.Sprintf("the name has more than %d bytes", maxNameLength)
	case !utf8.ValidString(name):
		return "the name is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "the name holds a control character"
	case strings.HasPrefix(name, "/"):
		return "the path is absolute, it has to be relative"
	case strings.Contains(name, `\`):
		return `the name holds a backslash, write "/" between directories`
	case len(name) > 1 && name[1] == ':':
		return "the name begins with a drive letter, it has to be relative"
	case !fs.ValidPath(name) || name == ".":
		return `the path has an empty, "." or ".." part; it has to stay in its directory`
	}
	return ""
}

// cleanEntry returns the path of a file of a bundle, without the "./" that
// some tools write in front, or says what is wrong with it.
func cleanEntry(name string) (clean, problem string) {
	clean = strings.TrimPrefix(name, "./")
	if problem = pathProblem(clean); problem != "" {
		return "", problem
	}
	return clean, ""
}

// pathSet finds paths that would be one file on some file system: equal ones,
// ones that differ only in case, and a file that is another one's directory.
type pathSet struct {
	files, dirs map[string]string // folded path -> path as written
}

func newPathSet() *pathSet {
	return &pathSet{files: make(map[string]string), dirs: make(map[string]string)}
}

// add records the file name and says with which earlier one it collides.
func (s *pathSet) add(name string) (problem string) {
	folded := fold(name)
	if other, ok := s.files[folded]; ok {
		if other == name {
			return "is there twice"
		}
		return fmt.Sprintf("differs from %q only in upper and lower case", other)
	}
	if other, ok := s.dirs[folded]; ok {
		return fmt.Sprintf("is a file and the directory of %q", other)
	}
	for i, c := range folded {
		if c != '/' {
			continue
		}
		if other, ok := s.files[folded[:i]]; ok {
			return fmt.Sprintf("lies in %q, which is a file", other)
		}
		s.dirs[folded[:i]] = name
	}
	s.files[folded] = name
	return ""
}

// fold maps names that a case-insensitive file system takes for one to one.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }
