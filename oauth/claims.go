package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// maxIdentity is the longest identity, in bytes.
const maxIdentity = 1024

// errClaim says that a member of a token or answer is not what its standard says.
var errClaim = errors.New("malformed")

// decodeObject returns the one JSON object that data holds, with numbers as
// json.Number.
func decodeObject(data []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		// The text of the error repeats parts of what was sent.
		return nil, errors.New("it is no JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || object == nil {
		return nil, errors.New("it is no JSON object")
	}
	return object, nil
}

// numericDate returns the time in claims under name (RFC 7519 section 2), in
// Unix seconds. known is false when there is none.
func numericDate(claims map[string]any, name string) (seconds float64, known bool, err error) {
	switch value := claims[name].(type) {
	case nil:
		return 0, false, nil
	case json.Number:
		if seconds, err = value.Float64(); err != nil {
			return 0, false, fmt.Errorf("%w %s", errClaim, name)
		}
		return seconds, true, nil
	}
	return 0, false, fmt.Errorf("%w %s", errClaim, name)
}

// unixSeconds returns t in the unit of a numericDate.
func unixSeconds(t time.Time) float64 {
	return float64(t.UnixMicro()) / 1e6
}

// identity returns who claims are about: what is at field, a name or a dotted
// path, or sub when there is nothing. What is there, but is no usable name, is not
// replaced by sub: that might be the name of somebody else.
func identity(claims map[string]any, field string) (string, error) {
	value, ok := lookup(claims, field)
	if !ok {
		value = claims["sub"]
	}
	name := ""
	switch v := value.(type) {
	case string:
		name = v
	case json.Number:
		name = v.String()
	}
	if name == "" || len(name) > maxIdentity || strings.ContainsFunc(name, unicode.IsControl) {
		return "", ErrNoIdentity
	}
	return name, nil
}

// lookup returns the claim of that name or else at that path. A claim that is
// null counts as absent.
func lookup(claims map[string]any, path string) (value any, ok bool) {
	if path == "" {
		return nil, false
	}
	if value = claims[path]; value != nil {
		return value, true
	}
	name, rest, more := strings.Cut(path, ".")
	if !more {
		return nil, false
	}
	inner, ok := claims[name].(map[string]any)
	if !ok {
		return nil, false
	}
	return lookup(inner, rest)
}
