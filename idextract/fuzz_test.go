package idextract_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/idextract"
)

// FuzzValue runs every kind of extractor on one request. What a form gives is
// compared with net/http.
func FuzzValue(f *testing.F) {
	for _, seed := range []struct{ header, query, media, body string }{
		{"Bearer abc", "id=alice", "", ""},
		{"one two", "x=%zz&id=a%20b;c", form, "id=al+ice&x=%"},
		{"<user id='1'/>", "id=%3Cuser+id='1'/%3E", form + "; charset", "<r><user id='u1'/><user/></r>"},
		{"", "id", "multipart/form-data; boundary=x", `<!DOCTYPE l [<!ENTITY a "b">]><user id="&a;"/>`},
		{"\xff", "%69d=1&id=2", form, "<a><b></a>"},
	} {
		f.Add(seed.header, seed.query, seed.media, []byte(seed.body))
	}
	extractors := map[string]*idextract.Extractor{}
	for _, source := range []string{"header", "form", "body"} {
		for _, with := range []string{"value", "regex", "xpath"} {
			if source == "body" && with == "value" {
				continue
			}
			e, err := idextract.New(from(source, with))
			require.NoError(f, err)
			extractors[source+" "+with] = e
		}
	}
	f.Fuzz(func(t *testing.T, header, query, media string, body []byte) {
		r := &http.Request{
			Method: http.MethodPost, URL: &url.URL{Path: "/", RawQuery: query},
			Header: http.Header{"X-Id": {header}, "Content-Type": {media}},
		}
		for kind, e := range extractors {
			value, err := e.Value(r, body)
			if err != nil {
				require.Empty(t, value)
				require.True(t, errors.Is(err, idextract.ErrMissing) || errors.Is(err, idextract.ErrAmbiguous) ||
					errors.Is(err, idextract.ErrTooLarge), "%s: %v", kind, err)
				continue
			}
			require.NotEmpty(t, strings.TrimSpace(value), kind)
		}
		compareForm(t, extractors["form "+apidef.ExtractValue], r, body)
	})
}

func compareForm(t *testing.T, e *idextract.Extractor, r *http.Request, body []byte) {
	t.Helper()
	if strings.Count(string(body), "&")+strings.Count(r.URL.RawQuery, "&") > 1000 {
		return // net/http has a limit
	}
	value, err := e.Value(r, body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	_ = r.ParseForm() // what it refuses is left out of Form
	want := r.Form["id"]
	switch {
	case len(want) == 1 && strings.TrimSpace(want[0]) != "":
		require.NoError(t, err)
		require.Equal(t, want[0], value)
	case len(want) > 1:
		require.ErrorIs(t, err, idextract.ErrAmbiguous)
	default:
		require.ErrorIs(t, err, idextract.ErrMissing)
	}
}
