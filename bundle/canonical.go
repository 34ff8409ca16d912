package bundle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxSafeInteger is the largest integer of RFC 7493 section 2.2.
const maxSafeInteger = 1<<53 - 1

// checkCanonical adds every value below path that has no canonical form. The
// document is one that jsonfile.Parse returned.
func checkCanonical(path string, value any, found *faults) {
	switch value := value.(type) {
	case string:
		checkText(path, value, found)
	case json.Number:
		if _, err := canonicalNumber(value); err != nil {
			found.add(path, err.Error(), "write it as text, in double quotes")
		}
	case []any:
		for i, item := range value {
			checkCanonical(fmt.Sprintf("%s[%d]", path, i), item, found)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			field := strings.TrimPrefix(path+"."+name, ".")
			checkText(field, name, found)
			checkCanonical(field, value[name], found)
		}
	}
}

// checkText refuses U+FFFD: the JSON decoder writes it for an unpaired
// surrogate, so two texts would have one canonical form.
func checkText(path, text string, found *faults) {
	if strings.ContainsRune(text, utf8.RuneError) {
		found.add(path, "holds U+FFFD or an unpaired surrogate, which no signature can cover", "remove the character")
	}
}

// appendCanonical appends the RFC 8785 form of a value that checkCanonical
// accepts.
func appendCanonical(out []byte, value any) []byte {
	switch value := value.(type) {
	case nil:
		return append(out, "null"...)
	case bool:
		return strconv.AppendBool(out, value)
	case string:
		return appendString(out, value)
	case json.Number:
		text, err := canonicalNumber(value)
		if err != nil {
			text = value.String() // checkCanonical let only good numbers pass
		}
		return append(out, text...)
	case []any:
		out = append(out, '[')
		for i, item := range value {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendCanonical(out, item)
		}
		return append(out, ']')
	case map[string]any:
		names := slices.SortedFunc(maps.Keys(value), compareUTF16)
		out = append(out, '{')
		for i, name := range names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, name), ':')
			out = appendCanonical(out, value[name])
		}
		return append(out, '}')
	}
	return out
}

func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// appendString appends text as a JSON string, RFC 8785 section 3.2.2.2.
func appendString(out []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	out = append(out, '"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c >= 0x20:
			out = append(out, c)
		case c == '\b':
			out = append(out, `\b`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\f':
			out = append(out, `\f`...)
		case c == '\r':
			out = append(out, `\r`...)
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(out, '"')
}

// canonicalNumber prints a number as ECMAScript does, RFC 8785 section 3.2.2.3.
func canonicalNumber(number json.Number) (string, error) {
	value, err := strconv.ParseFloat(number.String(), 64)
	if err != nil {
		return "", fmt.Errorf("the number %s is beyond a double", number)
	}
	if math.Abs(value) > maxSafeInteger && !strings.ContainsAny(number.String(), ".eE") {
		return "", fmt.Errorf("the integer %s is beyond 2^53-1", number)
	}
	if value == 0 {
		return "0", nil // ECMAScript prints -0 as 0
	}
	if magnitude := math.Abs(value); magnitude >= 1e-6 && magnitude < 1e21 {
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	}
	text := strconv.FormatFloat(value, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(text, "e")
	sign, digits := exponent[:1], strings.TrimLeft(exponent[1:], "0")
	return mantissa + "e" + sign + digits, nil
}
