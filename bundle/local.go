package bundle

import (
	"os"
	"path/filepath"
	"strings"
)

// LocalBase returns the directory that baseURL (bundle_base_url) leads to, when
// it is a file URL.
func LocalBase(baseURL string) (dir string, ok bool) {
	base, err := parseBase(baseURL)
	if err != nil || base.Scheme != "file" {
		return "", false
	}
	return directory(base), true
}

// Managed reports whether path is a link with which a [Fetcher] puts a version
// into service.
func Managed(path string) bool {
	target, err := os.Readlink(path)
	return err == nil && strings.HasPrefix(filepath.ToSlash(target), privateDir+"/"+versionPrefix)
}
