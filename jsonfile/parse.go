package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth limits how deeply objects and lists may be nested. Real files stay
// below ten; the limit keeps a hostile one from exhausting the stack.
const maxDepth = 200

// Parse returns the JSON object that data holds. Numbers are json.Number,
// other values as encoding/json has them in an any. name stands for the file
// in messages. A byte order mark at the start is ignored.
//
// The error is an [*Error].
func Parse(name string, data []byte) (map[string]any, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	fault := Fault{File: name}
	if at := invalidUTF8(data); at >= 0 {
		fault.Line, fault.Column = position(data, at)
		fault.Problem = "the file is not UTF-8 text"
		fault.Next = "save it with the encoding UTF-8"
		return nil, NewError([]Fault{fault})
	}
	if len(bytes.TrimSpace(data)) == 0 {
		fault.Problem = "the file is empty"
		fault.Next = "it has to hold a JSON object, at least {}"
		return nil, NewError([]Fault{fault})
	}
	// Checking the whole file first gives exact offsets, and the walk below
	// then meets valid JSON only.
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			fault.Line, fault.Column = position(data, int(syntax.Offset)-1)
		}
		fault.Problem = "not valid JSON: " + err.Error()
		fault.Next = "correct the file at or just before this place"
		return nil, NewError([]Fault{fault})
	}

	w := walker{name: name, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	w.dec.UseNumber()
	value, err := w.value("", 0)
	if err != nil {
		fault.Line, fault.Column = position(data, int(w.dec.InputOffset()))
		fault.Problem = "not usable JSON: " + err.Error()
		return nil, NewError([]Fault{fault})
	}
	object, ok := value.(map[string]any)
	if !ok {
		fault.Problem = "the file holds " + describe(value) + ", not a JSON object"
		fault.Next = "put its members into { and }"
		return nil, NewError([]Fault{fault})
	}
	return object, NewError(w.faults)
}

// walker builds the value tree from tokens, which shows the duplicate members
// that a plain Unmarshal drops in silence.
type walker struct {
	name   string
	data   []byte
	dec    *json.Decoder
	faults []Fault
}

func (w *walker) value(path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	token, err := w.dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return w.object(path, depth)
	case json.Delim('['):
		return w.list(path, depth)
	default:
		return token, nil
	}
}

func (w *walker) object(path string, depth int) (any, error) {
	object := make(map[string]any)
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		field := join(path, key)
		if _, twice := object[key]; twice {
			line, column := position(w.data, int(w.dec.InputOffset())-1)
			w.faults = append(w.faults, Fault{
				File: w.name, Line: line, Column: column, Field: field,
				Problem: "is there twice", Next: "remove one of the two",
			})
		}
		if object[key], err = w.value(field, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := w.dec.Token()
	return object, err
}

func (w *walker) list(path string, depth int) (any, error) {
	list := []any{}
	for w.dec.More() {
		element, err := w.value(fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, element)
	}
	_, err := w.dec.Token()
	return list, err
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// position returns the line and column, from 1, of the byte at offset.
func position(data []byte, offset int) (line, column int) {
	offset = max(0, min(offset, len(data)))
	before := data[:offset]
	line = bytes.Count(before, []byte("\n")) + 1
	return line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

func invalidUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
	return -1
}

// describe names the JSON type of a value without showing the value.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T", value), "*")
	}
}
