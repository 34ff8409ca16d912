package idextract_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/idextract"
)

// BenchmarkValue is what a request pays for the value that tells whether its
// caller is known.
func BenchmarkValue(b *testing.B) {
	body := []byte("<r>" + strings.Repeat("<item/>", 50) + `<user id="u1"/></r>`)
	for _, bm := range []struct {
		name      string
		extractor apidef.IDExtractor
	}{
		{"header/value", from("header", "value")},
		{"header/regex", from("header", "regex")},
		{"form/value", from("form", "value")},
		{"body/xpath", from("body", "xpath")},
	} {
		b.Run(bm.name, func(b *testing.B) {
			e, err := idextract.New(bm.extractor)
			require.NoError(b, err)
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://gateway/a/?x=1&id=u1", nil)
			require.NoError(b, err)
			r.Header.Set("X-Id", "one 2 three four")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Value(r, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSessionID is what follows for the value that was found.
func BenchmarkSessionID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = idextract.SessionID("org", "Bearer 0123456789abcdef")
	}
}
