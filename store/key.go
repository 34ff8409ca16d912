package store

import "fmt"

// maxPrefix bounds what KeyLabel takes for a prefix, so that a key without one
// is not shown up to whatever colon it happens to contain.
const maxPrefix = 32

// KeyLabel returns what may be logged of key: its prefix up to the first colon
// and the number of bytes after it. What follows a prefix may be a token or a
// name that a plugin chose, so it never appears.
func KeyLabel(key string) string {
	n := prefixLen(key)
	return fmt.Sprintf("%s<%d bytes>", key[:n], len(key)-n)
}

// prefixLen returns the length of key's prefix with its colon, or 0 when key
// does not begin with one.
func prefixLen(key string) int {
	for i := 0; i < len(key) && i <= maxPrefix; i++ {
		c := key[i]
		switch {
		case c == ':':
			return i + 1
		case c >= 'a' && c <= 'z', c == '-', c == '_':
		default:
			return 0
		}
	}
	return 0
}
