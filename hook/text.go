package hook

import "unicode/utf8"

// toText returns s as valid UTF-8: s itself, or its bytes read as ISO-8859-1
// when it is not (see the package comment).
func toText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// original returns the one of values that a hook was shown as text, or text
// when there is none.
func original(values []string, text string) string {
	for _, v := range values {
		if toText(v) == text {
			return v
		}
	}
	return text
}
