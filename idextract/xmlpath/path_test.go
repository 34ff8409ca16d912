package xmlpath_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/idextract/xmlpath"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const users = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE r>
<r xmlns="urn:default" xmlns:s="urn:s" id="root"><!-- first -->
  <user id="1">x<b>y</b><![CDATA[<&]]>z</user>
  <?target data?><user s:id="2" name='a&amp;b'>&#x41;&lt;</user>
  <s:admin><s:user>nested</s:user></s:admin>
  <blank> </blank><empty/>
</r>`

func TestCompile(t *testing.T) {
	for expression, want := range map[string]string{
		"//user":                       "",
		"/r/user[2]/@name":             "",
		"//user | //admin":             "",
		"//user[starts-with(.,'x')]":   "",
		"..":                           "",
		"":                             "expression",
		"//user[":                      "node-set",
		"//user[foo()]":                "foo",
		"$x":                           "undeclared",
		"//s:user":                     "prefix",
		"//user[matches(., '(')]":      "missing closing",
		"count(//user)":                "selects no nodes",
		"string(//user)":               "selects no nodes",
		"concat('u-', //user)":         "selects no nodes",
		"//user = 'x'":                 "selects no nodes",
		"'everybody'":                  "selects no nodes",
		"//user or //admin":            "selects no nodes",
		"sum(1)":                       "selects no nodes",
		"//processing-instruction()":   "processing instructions",
		strings.Repeat("(", 1000):      "too complex",
		strings.Repeat("//a[", 100000): "too complex",
	} {
		name := expression[:min(len(expression), 40)]
		t.Run(name, func(t *testing.T) {
			path, err := xmlpath.Compile(expression)
			if want == "" {
				require.NoError(t, err)
				require.NotNil(t, path)
				return
			}
			require.ErrorContains(t, err, want)
		})
	}
}

func TestFirst(t *testing.T) {
	for expression, want := range map[string]string{
		"//user":                   "xy<&z",
		"//user/text()":            "x",
		"//user/text()[2]":         "<&z",
		"//user[2]":                "A<",
		"//user[last()]":           "A<",
		"//user/@id":               "1",
		"//user[2]/@id":            "2",
		"//user[@name='a&b']/@id":  "2",
		"//user[b]/@id":            "1",
		"/r/admin/user":            "nested",
		"//admin//user":            "nested",
		"//comment()":              " first ",
		"/r/@*":                    "root",
		"/*/@id":                   "root",
		"//b/../@id":               "1",
		"//b/ancestor::r/@id":      "root",
		"//user[. = 'A<']/@id":     "2",
		"//user/following::blank":  " ",
		"//empty":                  "",
		"//nobody":                 "",
		"user":                     "",
		"//@xmlns":                 "",
		"//user[position()>1]/@id": "2",
		"(//user)[3]":              "nested",
	} {
		t.Run(expression, func(t *testing.T) {
			path, err := xmlpath.Compile(expression)
			require.NoError(t, err)
			got, err := path.First(t.Context(), users)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestFirstOfBadDocuments(t *testing.T) {
	billion := `<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "` + strings.Repeat("&a;", 100) + `">]><l>&b;</l>`
	for name, tc := range map[string]struct {
		text       string
		expression string
		want       error
	}{
		"empty":                          {"", "//a", xmlpath.ErrMalformed},
		"text":                           {"secret", "//a", xmlpath.ErrMalformed},
		"blank":                          {" \n", "//a", xmlpath.ErrMalformed},
		"only a comment":                 {"<!-- -->", "//a", xmlpath.ErrMalformed},
		"cut off":                        {"<a>secret", "//a", xmlpath.ErrMalformed},
		"wrong end":                      {"<a></secret>", "//a", xmlpath.ErrMalformed},
		"two roots":                      {"<a>1</a><a>2</a>", "//a", xmlpath.ErrMalformed},
		"text behind the root":           {"<a/>secret", "//a", xmlpath.ErrMalformed},
		"not UTF-8":                      {"<a>\xff</a>", "//a", xmlpath.ErrMalformed},
		"other encoding":                 {`<?xml version="1.0" encoding="utf-7"?><a/>`, "//a", xmlpath.ErrMalformed},
		"JSON":                           {`{"a": "<secret>"}`, "//a", xmlpath.ErrMalformed},
		"entity bomb":                    {billion, "//a", xmlpath.ErrMalformed},
		"external entity":                {`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>`, "//a", xmlpath.ErrMalformed},
		"deep":                           {strings.Repeat("<a>", 300) + strings.Repeat("</a>", 300), "//b", xmlpath.ErrTooComplex},
		"deep without an end":            {strings.Repeat("<a>", 1<<20), "//b", xmlpath.ErrTooComplex},
		"many elements":                  {"<r>" + strings.Repeat("<a/>", 1<<20) + "</r>", "//b", xmlpath.ErrTooComplex},
		"many attributes":                {"<r " + strings.Repeat(`a="" `, 200_000) + "/>", "//b", xmlpath.ErrTooComplex},
		"many comments":                  {"<r>" + strings.Repeat("<!---->", 200_000) + "</r>", "//b", xmlpath.ErrTooComplex},
		"expression that is quadratic":   {"<r>" + strings.Repeat("<a/>", 50_000) + "</r>", "//a[//b]", xmlpath.ErrTooComplex},
		"expression that compares much":  {"<r>" + strings.Repeat("<a/>", 50_000) + strings.Repeat("x", 1<<20) + "</r>", "//a[contains(/r, 'y')]", xmlpath.ErrTooComplex},
		"function that the text offends": {"<a>1</a>", "//a[starts-with(1, 2)]", xmlpath.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := xmlpath.Compile(tc.expression)
			require.NoError(t, err)
			got, err := path.First(t.Context(), tc.text)
			require.ErrorIs(t, err, tc.want)
			require.Empty(t, got)
			require.NotContains(t, err.Error(), "secret", "errors are logged")
		})
	}
}

func TestManySectionsAreOneText(t *testing.T) {
	path, err := xmlpath.Compile("//a")
	require.NoError(t, err)
	got, err := path.First(t.Context(), "<a>"+strings.Repeat("<![CDATA[x]]>", 300_000)+"</a>")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", 300_000), got)
}

func TestFirstStopsWaiting(t *testing.T) {
	path, err := xmlpath.Compile("//a")
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Eventually(t, func() bool { // a free place may be taken all the same
		_, err = path.First(gone, users)
		return err != nil
	}, time.Minute, time.Microsecond)
	require.ErrorIs(t, err, context.Canceled)
}

func TestFirstManyWays(t *testing.T) {
	for _, expression := range []string{"//user[last()]", "//user[position()=2]", "(//user)[2]"} {
		path, err := xmlpath.Compile(expression)
		require.NoError(t, err)
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				for range 50 {
					got, err := path.First(t.Context(), users)
					assert.NoError(t, err)
					assert.Equal(t, "A<", got)
				}
			})
		}
		group.Wait()
	}
}
