package idextract

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/idextract/xmlpath"
	"github.com/krait-gateway/krait/jsonfile"
)

// MaxText is the longest header, form field or body, in bytes, that is searched
// with a regular expression or XPath.
const MaxText = 4 << 20

// Errors of [Extractor.Value], wrapped with what was looked for.
var (
	// ErrMissing says that the request has no such value, or an empty one, or
	// XML that is malformed.
	ErrMissing = errors.New("no value to identify the caller by")
	// ErrAmbiguous says that the request has the header or the form field more
	// than once.
	ErrAmbiguous = errors.New("more than one value to identify the caller by")
	// ErrTooLarge says that the text is longer than MaxText, or XML beyond the
	// limits of package xmlpath.
	ErrTooLarge = errors.New("text to search is too large")
)

// Extractor is a compiled id_extractor.
type Extractor struct {
	from   string // header, form or body
	name   string // of the header or the form field
	search func(r *http.Request, text string) (string, error)
}

// New compiles x. The error is the [*jsonfile.Error] of what is wrong with x.
func New(x apidef.IDExtractor) (*Extractor, error) {
	if err := jsonfile.NewError(x.Faults("", "id_extractor")); err != nil {
		return nil, err
	}
	e := &Extractor{from: x.ExtractFrom}
	switch x.ExtractFrom {
	case apidef.ExtractFromHeader:
		e.name = x.Config.HeaderName
	case apidef.ExtractFromForm:
		e.name = x.Config.ParamName
	}
	switch x.ExtractWith {
	case apidef.ExtractRegex:
		expression, err := regexp.Compile(x.Config.RegexExpression)
		if err != nil {
			return nil, err
		}
		e.search = matchAt(expression, x.Config.RegexMatchIndex)
	case apidef.ExtractXPath:
		path, err := xmlpath.Compile(x.Config.XPathExpression)
		if err != nil {
			return nil, err
		}
		e.search = firstNode(path)
	}
	return e, nil
}

// SessionID returns the session id of the caller with that value: the
// organisation's id and the MD5 of the value in hex.
func SessionID(orgID, value string) string {
	sum := md5.Sum([]byte(value))
	return orgID + hex.EncodeToString(sum[:])
}

// ReadsBody reports whether Value needs the body of r.
func (e *Extractor) ReadsBody(r *http.Request) bool {
	switch e.from {
	case apidef.ExtractFromBody:
		return true
	case apidef.ExtractFromForm:
		return hasForm(r)
	}
	return false
}

// Value returns the value that identifies the caller of r. It is never empty.
// body is the whole body of r, which is not read; it is ignored unless
// ReadsBody says that it is needed.
func (e *Extractor) Value(r *http.Request, body []byte) (string, error) {
	text, err := e.text(r, body)
	if err != nil {
		return "", err
	}
	if e.search != nil {
		if len(text) > MaxText {
			return "", e.fault(fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, MaxText))
		}
		if text, err = e.search(r, text); err != nil {
			return "", e.fault(err)
		}
	}
	if strings.TrimSpace(text) == "" {
		return "", e.fault(ErrMissing)
	}
	return text, nil
}

// text returns what is searched.
func (e *Extractor) text(r *http.Request, body []byte) (string, error) {
	var values []string
	switch e.from {
	case apidef.ExtractFromBody:
		if len(body) > MaxText {
			body = body[:MaxText+1] // refused by Value, without a copy of all
		}
		return string(body), nil
	case apidef.ExtractFromHeader:
		values = r.Header.Values(e.name)
	case apidef.ExtractFromForm:
		values = formValues(r, body, e.name)
	}
	switch len(values) {
	case 0:
		return "", e.fault(ErrMissing)
	case 1:
		return values[0], nil
	}
	return "", e.fault(ErrAmbiguous)
}

// fault says where a value was looked for.
func (e *Extractor) fault(err error) error {
	if e.name == "" {
		return fmt.Errorf("%s: %w", e.from, err)
	}
	return fmt.Errorf("%s %q: %w", e.from, e.name, err)
}

// matchAt searches for the match of a regular expression with that index.
func matchAt(expression *regexp.Regexp, index int) func(*http.Request, string) (string, error) {
	return func(_ *http.Request, text string) (string, error) {
		matches := expression.FindAllStringIndex(text, index+1)
		if len(matches) <= index {
			return "", fmt.Errorf("%w: it has %d matches of the regular expression", ErrMissing, len(matches))
		}
		// Not a part of text, which would keep a whole body in memory.
		return strings.Clone(text[matches[index][0]:matches[index][1]]), nil
	}
}

// firstNode searches for the first node that path selects.
func firstNode(path *xmlpath.Path) func(*http.Request, string) (string, error) {
	return func(r *http.Request, text string) (string, error) {
		value, err := path.First(r.Context(), text)
		switch {
		case errors.Is(err, xmlpath.ErrTooComplex):
			return "", fmt.Errorf("%w: %w", ErrTooLarge, err)
		case err != nil:
			return "", fmt.Errorf("%w: %w", ErrMissing, err)
		}
		return strings.Clone(value), nil
	}
}
