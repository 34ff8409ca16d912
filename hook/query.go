package hook

import (
	"net/url"
	"slices"
	"strings"
)

// firstParams adds the first value of each parameter as text to first.
// Parameters that net/url refuses are left out, as in the reference.
func firstParams(first map[string]string, query string) map[string]string {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" || strings.Contains(pair, ";") {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			continue
		}
		if name = toText(name); !has(first, name) {
			first[name] = toText(value)
		}
	}
	return first
}

// restoreQuery gives the parameters of changed, a query that a hook set, that
// are those of query as the hook was shown it, their original bytes back.
func restoreQuery(changed, query string) string {
	if escapeQuery(query) == query {
		return changed
	}
	bytesOf := make(map[string]string)
	originals := strings.Split(query, "&")
	for i, shown := range strings.Split(toText(query), "&") {
		bytesOf[escapeQuery(shown)] = originals[i]
	}
	pairs := strings.Split(changed, "&")
	for i, pair := range pairs {
		if was, ok := bytesOf[pair]; ok {
			pairs[i] = was
		}
	}
	return strings.Join(pairs, "&")
}

// editQuery deletes and sets parameters in a raw query. The text and the order
// of all other parameters stay. A parameter that is set takes the place of the
// first one of its name, or goes to the end.
func editQuery(query string, del []string, set map[string]string) string {
	if len(del) == 0 && len(set) == 0 {
		return query
	}
	var pairs []string
	if query != "" {
		pairs = strings.Split(query, "&")
	}
	if len(del) > 0 {
		gone := make(map[string]bool, len(del))
		for _, name := range del {
			gone[name] = true
		}
		pairs = slices.DeleteFunc(pairs, func(pair string) bool {
			return pair != "" && gone[paramName(pair)]
		})
	}
	for _, name := range sortedNames(set) {
		pairs = setParam(pairs, name, set[name])
	}
	return strings.Join(pairs, "&")
}

// setParam makes name=value the only parameter of that name.
func setParam(pairs []string, name, value string) []string {
	place := -1
	kept := pairs[:0]
	for _, pair := range pairs {
		if pair == "" || paramName(pair) != name {
			kept = append(kept, pair)
			continue
		}
		if place >= 0 {
			continue
		}
		place = len(kept)
		if paramValue(pair) != value {
			pair = url.QueryEscape(name) + "=" + url.QueryEscape(value)
		}
		kept = append(kept, pair)
	}
	if place < 0 {
		kept = append(kept, url.QueryEscape(name)+"="+url.QueryEscape(value))
	}
	return kept
}

// paramName returns the name of a raw parameter as hooks see it.
func paramName(pair string) string {
	name, _, _ := strings.Cut(pair, "=")
	return unescape(name)
}

// paramValue returns the value of a raw parameter as hooks see it.
func paramValue(pair string) string {
	_, value, _ := strings.Cut(pair, "=")
	return unescape(value)
}

// escapeQuery escapes what must not be in a request line or would end the
// query there: control characters, space, # and bytes beyond ASCII (RFC 3986
// section 3.4). url.Parse lets some of them pass.
func escapeQuery(query string) string {
	const hex = "0123456789ABCDEF"
	bad := func(c byte) bool { return c <= ' ' || c >= 0x7f || c == '#' }
	var b strings.Builder
	for i := range len(query) {
		c := query[i]
		if !bad(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// unescape decodes a name or value; one with a broken escape stands for
// itself.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		s = plain
	}
	return toText(s)
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}
