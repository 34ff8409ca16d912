package bundle_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/jsonfile"
)

func TestParseManifestReadsEveryMember(t *testing.T) {
	manifest, err := bundle.ParseManifest("manifest.json", []byte(`{
		"file_list": ["./other.py", "a/b.txt"],
		"custom_middleware": {"driver": "python",
			"pre": [{"name": "P"}], "response": [{"name": "R", "raw_body_only": true}]},
		"checksum": "c", "signature": "s", "manifest_signature": "m",
		"krait": {"timeout": "1m30s", "serial": true, "isolation": "inprocess", "venv": "/opt/venv"},
		"x-other": {"deep": 1}
	}`))
	require.NoError(t, err)
	require.Equal(t, []string{"./other.py", "a/b.txt"}, manifest.FileList)
	require.Equal(t, "other.py", manifest.Entry())
	require.Equal(t, "R", manifest.CustomMiddleware.Response[0].Name)
	require.Equal(t, 90*time.Second, manifest.Krait.HookTimeout())
	require.True(t, manifest.Krait.Serial)
	require.Equal(t, "/opt/venv", manifest.Krait.Venv)
	require.Equal(t, []string{"x-other"}, manifest.Unknown)
	require.Zero(t, bundle.Settings{}.HookTimeout())
}

func TestEntryPrefersMiddlewarePy(t *testing.T) {
	cases := map[string]struct{ list, want string }{
		"middleware.py wherever it is":      {`["a.py", "middleware.py"]`, "middleware.py"},
		"the first file otherwise":          {`["my-plugin 2.py", "a.py"]`, "my-plugin 2.py"},
		"one in a directory does not count": {`["a.py", "sub/middleware.py"]`, "a.py"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			manifest, err := bundle.ParseManifest("manifest.json", []byte(
				`{"file_list": `+test.list+`, "custom_middleware": {"driver": "python", "pre": [{"name": "H"}]}}`))
			require.NoError(t, err)
			require.Equal(t, test.want, manifest.Entry())
		})
	}
}

func TestManifestFaultsAreReportedWithFieldAndNextStep(t *testing.T) {
	const hooks = `"custom_middleware": {"driver": "python", "pre": [{"name": "H"}]}`
	cases := map[string]struct{ manifest, field, problem string }{
		"not JSON":                          {`{"file_list": [`, "", "not valid JSON"},
		"empty":                             {``, "", "empty"},
		"a list":                            {`[]`, "", "not a JSON object"},
		"wrong type":                        {`{"file_list": "a.py", ` + hooks + `}`, "file_list", "must be a list"},
		"duplicate member":                  {`{"file_list": ["a"], "file_list": ["b"], ` + hooks + `}`, "file_list", "twice"},
		"member in another letter case":     {`{"File_List": ["a"], ` + hooks + `}`, "File_List", "lower case"},
		"absolute path":                     {`{"file_list": ["/etc/passwd"], ` + hooks + `}`, "file_list[0]", "absolute"},
		"parent directory":                  {`{"file_list": ["a/../../b"], ` + hooks + `}`, "file_list[0]", `".."`},
		"backslash":                         {`{"file_list": ["a\\b"], ` + hooks + `}`, "file_list[0]", "backslash"},
		"drive letter":                      {`{"file_list": ["C:a"], ` + hooks + `}`, "file_list[0]", "drive"},
		"NUL":                               {`{"file_list": ["a\u0000b"], ` + hooks + `}`, "file_list[0]", "control character"},
		"empty name":                        {`{"file_list": [""], ` + hooks + `}`, "file_list[0]", "empty"},
		"the manifest itself":               {`{"file_list": ["a", "manifest.json"], ` + hooks + `}`, "file_list[1]", "manifest"},
		"a file twice":                      {`{"file_list": ["a", "./a"], ` + hooks + `}`, "file_list[1]", "twice"},
		"names that differ in case":         {`{"file_list": ["a.py", "A.py"], ` + hooks + `}`, "file_list[1]", "upper and lower case"},
		"a file below a file":               {`{"file_list": ["a", "a/b"], ` + hooks + `}`, "file_list[1]", "which is a file"},
		"a file that is a directory":        {`{"file_list": ["a/b", "a"], ` + hooks + `}`, "file_list[1]", "directory of"},
		"python without files":              {`{` + hooks + `}`, "file_list", "empty"},
		"no driver":                         {`{"file_list": ["a"], "custom_middleware": {"pre": [{"name": "H"}]}}`, "custom_middleware.driver", "missing"},
		"unknown driver":                    {`{"file_list": ["a"], "custom_middleware": {"driver": "perl", "pre": [{"name": "H"}]}}`, "custom_middleware.driver", "not a driver"},
		"no hook":                           {`{"file_list": ["a"], "custom_middleware": {"driver": "python"}}`, "custom_middleware", "no hook"},
		"auth_check without name":           {`{"file_list": ["a"], "custom_middleware": {"driver": "python", "auth_check": {"name": ""}}}`, "custom_middleware", "no hook"},
		"hook without name":                 {`{"file_list": ["a"], "custom_middleware": {"driver": "python", "post": [{"name": ""}]}}`, "custom_middleware.post[0].name", "missing"},
		"extractor that shares sessions":    {`{"file_list": ["a"], "custom_middleware": {"driver": "python", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "body", "extract_with": "value"}}}`, "custom_middleware.id_extractor.extract_with", "share"},
		"bad timeout":                       {`{"file_list": ["a"], ` + hooks + `, "krait": {"timeout": "10"}}`, "krait.timeout", "not a duration"},
		"negative timeout":                  {`{"file_list": ["a"], ` + hooks + `, "krait": {"timeout": "-1s"}}`, "krait.timeout", "not a duration"},
		"isolation that is not there yet":   {`{"file_list": ["a"], ` + hooks + `, "krait": {"isolation": "process"}}`, "krait.isolation", "not available"},
		"unknown isolation":                 {`{"file_list": ["a"], ` + hooks + `, "krait": {"isolation": "vm"}}`, "krait.isolation", "not a kind"},
		"misspelt setting":                  {`{"file_list": ["a"], ` + hooks + `, "krait": {"timout": "1s"}}`, "krait.timout", "not a setting"},
		"integer that a double cannot hold": {`{"file_list": ["a"], ` + hooks + `, "x": [9007199254740992]}`, "x[0]", "2^53-1"},
		"number beyond a double":            {`{"file_list": ["a"], ` + hooks + `, "x": 1e400}`, "x", "double"},
		"unpaired surrogate":                {`{"file_list": ["a"], ` + hooks + `, "x": "\ud800"}`, "x", "surrogate"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.ParseManifest("some/manifest.json", []byte(test.manifest))
			var faults *jsonfile.Error
			require.ErrorAs(t, err, &faults)
			fault := faults.Faults[0]
			require.Equal(t, "some/manifest.json", fault.File)
			require.Equal(t, test.field, fault.Field)
			require.Contains(t, fault.Problem, test.problem)
			if fault.Line == 0 {
				require.NotEmpty(t, fault.Next)
			}
		})
	}
}

func TestManifestFaultsAreReportedTogether(t *testing.T) {
	_, err := bundle.ParseManifest("manifest.json", []byte(
		`{"file_list": ["/a", "b\\c"], "custom_middleware": {}, "krait": {"isolation": "process", "timeout": "x"}}`))
	var faults *jsonfile.Error
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults.Faults, 6)
}

func TestDriverOfAnotherGatewayParses(t *testing.T) {
	for _, driver := range []string{"lua", "otto"} {
		_, err := bundle.ParseManifest("manifest.json", []byte(
			`{"file_list": ["a.js"], "custom_middleware": {"driver": "`+driver+`", "pre": [{"name": "H"}]}}`))
		require.NoError(t, err, "only loading it is refused")
	}
}

func TestIDIsTheMD5OfTheName(t *testing.T) {
	require.Equal(t, md5sum(t, "bundle.zip"), bundle.ID("bundle.zip"))
}

func TestCombine(t *testing.T) {
	load := func(name, middleware string) *bundle.Bundle {
		manifest, err := bundle.ParseManifest("manifest.json", []byte(`{"file_list": ["a.py"], "custom_middleware": `+middleware+`}`))
		require.NoError(t, err)
		return &bundle.Bundle{Name: name, Manifest: manifest}
	}
	const extractor = `"id_extractor": {"extract_from": "header", "extract_with": "value", "extractor_config": {"header_name": "X"}}`
	pre := load("pre", `{"driver": "python", "pre": [{"name": "P"}]}`)
	auth := load("auth", `{"driver": "python", "auth_check": {"name": "A"}, `+extractor+`}`)
	auth2 := load("auth2", `{"driver": "python", "auth_check": {"name": "B"}, `+extractor+`}`)
	remote := load("remote", `{"driver": "grpc", "post": [{"name": "R"}]}`)

	set, err := bundle.Combine([]*bundle.Bundle{pre, auth})
	require.NoError(t, err)
	require.Equal(t, "python", set.Driver)
	require.Same(t, auth, set.AuthCheck)
	require.Same(t, auth, set.IDExtractor, "the first that has one")

	_, err = bundle.Combine([]*bundle.Bundle{auth, remote, auth2})
	require.ErrorIs(t, err, bundle.ErrUnsupported)
	require.ErrorContains(t, err, `"grpc"`)
	require.ErrorContains(t, err, "has an auth_check")
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"bundle.zip", "team/bundle.zip"} {
		require.NoError(t, bundle.CheckName(name))
	}
	for reason, test := range map[string]struct{ name, fail string }{
		"empty":                {"", "empty"},
		"URL":                  {"http://host/a.zip", "bundle_base_url"},
		"absolute":             {"/a.zip", "absolute"},
		"leaves the directory": {"../a.zip", ".."},
		"leaves it further on": {"x/../../a.zip", ".."},
		"backslashes":          {`..\a.zip`, "backslash"},
		"control characters":   {"a\r\nb", "control"},
	} {
		t.Run(reason, func(t *testing.T) {
			err := bundle.CheckName(test.name)
			require.ErrorIs(t, err, bundle.ErrName)
			require.ErrorContains(t, err, test.fail)
		})
	}
}
