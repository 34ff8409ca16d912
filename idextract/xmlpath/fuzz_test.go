package xmlpath_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/idextract/xmlpath"
)

// FuzzFirst looks for panics, endless searches and errors of other kinds, with
// any expression and any document.
func FuzzFirst(f *testing.F) {
	for _, expression := range []string{
		"//user/@id", "/r/user[last()]", "//user[. = 'x']/following::b", "//a | //b", "//user[count(b) > 1]/text()", "s:a", "//a[",
		"(//b)[2]/ancestor-or-self::*", "//comment()/..", "//a[matches(., 'x')]",
	} {
		f.Add(expression, users)
		f.Add(expression, "<a>")
	}
	f.Fuzz(func(t *testing.T, expression, text string) {
		path, err := xmlpath.Compile(expression)
		if err != nil {
			require.Nil(t, path)
			return
		}
		value, err := path.First(t.Context(), text)
		if err == nil {
			return
		}
		require.Empty(t, value)
		require.True(t, errors.Is(err, xmlpath.ErrMalformed) || errors.Is(err, xmlpath.ErrTooComplex), "%v", err)
	})
}
