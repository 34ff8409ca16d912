package tests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/policy"
)

// Each fenced block of docs/ is preceded by a comment that says how it is
// tested; blocks of "text" (output, diagrams) need none:
//
//	<!-- test: KIND [file=NAME] [JSON] -->
//	<!-- not run: REASON -->
//
// Kinds: tyk.conf, api, policies and manifest are parsed, without a warning; sh is run;
// plugin is a bundle's middleware.py in a real gateway, called as its JSON says
// (pluginTest); file is only written. The blocks of one document are taken in
// order in one directory, where file= writes them.
type block struct {
	document   string
	line       int
	language   string
	mark, text string
}

func (b block) at() string { return fmt.Sprintf("%s:%d", b.document, b.line) }

// pluginTest is the JSON of a plugin block.
type pluginTest struct {
	Hooks object   `json:"hooks"` // see site.bundle
	API   object   `json:"api"`   // members of the API definition
	With  []string `json:"with"`  // further files of the bundle, patterns
	Send  []struct {
		Method   string            `json:"method"`
		Path     string            `json:"path"`
		Headers  []string          `json:"headers"` // name, value, name, value...
		Body     string            `json:"body"`
		Status   int               `json:"status"` // 0 is 200
		Answer   string            `json:"answer"` // part of the answer's body
		Answered map[string]string `json:"answered"`
		Upstream map[string]string `json:"upstream"` // headers that the upstream got
		Log      string            `json:"log"`
	} `json:"send"`
}

var (
	fence     = regexp.MustCompile("^```([a-z]*)$")
	testMark  = regexp.MustCompile(`^<!-- test: (\S+)(?: file=(\S+))?(?: (\{.*\}))? -->$`)
	notRun    = regexp.MustCompile(`^<!-- not run: .+ -->$`)
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	titleMark = regexp.MustCompile(`^#+ +(.*)$`)
)

// documents returns the texts of docs/ by path; README.md joins for links.
func documents(t *testing.T, withReadme bool) map[string][]string {
	t.Helper()
	paths, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	if _, err := os.Stat("../README.md"); err == nil && withReadme {
		paths = append(paths, "../README.md")
	}
	texts := map[string][]string{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = strings.Split(string(data), "\n")
	}
	return texts
}

// blocks splits a document; prose is what is outside of its blocks.
func blocks(path string, lines []string) (found []block, prose []string) {
	var current *block
	mark := ""
	for i, line := range lines {
		start := fence.FindStringSubmatch(line)
		switch {
		case current == nil && start != nil:
			current = &block{document: filepath.Base(path), line: i + 1, language: start[1], mark: mark}
		case current != nil && line == "```":
			found = append(found, *current)
			current, mark = nil, ""
		case current != nil:
			current.text += line + "\n"
		default:
			prose = append(prose, line)
			if strings.TrimSpace(line) != "" {
				mark = line
			}
		}
	}
	return found, prose
}

func TestDocsExamples(t *testing.T) {
	for path, lines := range documents(t, false) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			found, _ := blocks(path, lines)
			d := &documentTest{site: newSite(t), dir: workspace(t)}
			for _, b := range found {
				if b.language != "text" && !notRun.MatchString(b.mark) {
					d.take(t, b)
				}
			}
			d.callPlugins(t)
		})
	}
}

// documentTest is one document on its way through the test.
type documentTest struct {
	site    *site
	dir     string
	blocks  []block
	plugins []pluginTest
}

// workspace holds what examples of tyk.conf name.
func workspace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"apps", "middleware"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o750))
	}
	require.NoError(t, os.Symlink(venv(t), filepath.Join(dir, "venv")))
	run(t, dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=localhost")
	run(t, dir, "openssl", "rsa", "-in", "server.key", "-pubout", "-out", "bundles.pub")
	run(t, dir, "cp", "server.pem", "redis-ca.pem")
	return dir
}

func (d *documentTest) take(t *testing.T, b block) {
	t.Helper()
	mark := testMark.FindStringSubmatch(b.mark)
	require.NotNil(t, mark, "%s: the block has no mark such as <!-- test: sh --> or <!-- not run: reason --> before it", b.at())
	if name := mark[2]; name != "" {
		path := filepath.Join(d.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(b.text), 0o600))
	}
	var warnings []string
	var err error
	switch mark[1] {
	case "file":
		require.NotEmpty(t, mark[2], "%s: file= is missing", b.at())
	case "tyk.conf":
		t.Run(b.at(), func(t *testing.T) {
			t.Chdir(d.dir)
			require.NoError(t, os.WriteFile("checked.conf", []byte(b.text), 0o600))
			_, warnings, err = config.Load("checked.conf", nil)
		})
	case "api":
		_, warnings, err = apidef.Parse(b.at(), []byte(b.text))
	case "policies":
		_, warnings, err = policy.Parse(b.at(), []byte(b.text))
	case "manifest":
		var manifest *bundle.Manifest
		if manifest, err = bundle.ParseManifest(b.at(), []byte(b.text)); err == nil {
			warnings = manifest.Unknown
		}
	case "sh":
		d.shell(t, b)
	case "plugin":
		d.plugin(t, b, mark[3])
	default:
		require.Fail(t, "unknown kind", "%s: %s", b.at(), mark[1])
	}
	require.NoError(t, err, b.at())
	require.Empty(t, warnings, b.at())
}

// shell runs a block with krait and the virtual environment on PATH.
// KRAIT_SOURCE is the repository.
func (d *documentTest) shell(t *testing.T, b block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	const cleanUp = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", cleanUp+b.text)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = patience
	command.Dir = d.dir
	path := filepath.Dir(binary(t)) + ":" + filepath.Join(venv(t), "bin") + ":" + os.Getenv("PATH")
	command.Env = append(os.Environ(), "PATH="+path, "KRAIT_SOURCE="+filepath.Dir(filepath.Dir(binary(t))))
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s\n%s", b.at(), output)
}

// plugin makes a bundle and an API of a block.
func (d *documentTest) plugin(t *testing.T, b block, text string) {
	t.Helper()
	var p pluginTest
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&p), b.at())
	require.NotEmpty(t, p.Send, "%s: nothing is sent", b.at())
	files := map[string]string{"middleware.py": b.text}
	for _, pattern := range p.With {
		paths, err := filepath.Glob(filepath.Join(d.dir, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, paths, "%s: there is no %s", b.at(), pattern)
		for _, path := range paths {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			name, err := filepath.Rel(d.dir, path)
			require.NoError(t, err)
			files[name] = string(data)
		}
	}
	id := fmt.Sprintf("line-%d", b.line)
	changes := object{"custom_middleware_bundle": id + ".zip"}
	if p.Hooks["auth_check"] != nil {
		changes["use_keyless"], changes["enable_coprocess_auth"] = false, true
	}
	for key, value := range p.API {
		changes[key] = value
	}
	d.site.bundle(id+".zip", p.Hooks, files)
	d.site.api(id, echo(t), changes)
	d.blocks, d.plugins = append(d.blocks, b), append(d.plugins, p)
}

// callPlugins starts one gateway with all plugins of the document and sends
// what they are to be sent.
func (d *documentTest) callPlugins(t *testing.T) {
	t.Helper()
	if len(d.plugins) == 0 {
		return
	}
	g := d.site.start()
	for i, p := range d.plugins {
		t.Run(d.blocks[i].at(), func(t *testing.T) {
			for _, request := range p.Send {
				method, want := request.Method, request.Status
				if method == "" {
					method = "GET"
				}
				if want == 0 {
					want = 200
				}
				path := fmt.Sprintf("/line-%d/%s", d.blocks[i].line, request.Path)
				answer := g.send(method, path, strings.NewReader(request.Body), request.Headers...)
				require.Equal(t, want, answer.status, answer.body)
				require.Contains(t, answer.body, request.Answer)
				for name, value := range request.Answered {
					require.Equal(t, value, answer.header.Get(name), name)
				}
				for name, value := range request.Upstream {
					require.Equal(t, value, answer.echoed(t).Header.Get(name), name)
				}
				g.awaitLog(request.Log)
			}
		})
	}
}

// anchors returns the anchors of a document's titles as GitHub makes them.
func anchors(lines []string) map[string]bool {
	all := map[string]bool{}
	_, prose := blocks("", lines)
	for _, line := range prose {
		title := titleMark.FindStringSubmatch(line)
		if title == nil {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, title[1])
		for i, first := 1, anchor; all[anchor]; i++ {
			anchor = fmt.Sprintf("%s-%d", first, i)
		}
		all[anchor] = true
	}
	return all
}

func TestDocsLinks(t *testing.T) {
	texts := documents(t, true)
	for path, lines := range texts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, prose := blocks(path, lines)
			for _, found := range link.FindAllStringSubmatch(strings.Join(prose, "\n"), -1) {
				if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
					continue
				}
				file, anchor, _ := strings.Cut(found[1], "#")
				target := path
				if file != "" {
					target = filepath.Join(filepath.Dir(path), file)
					_, err := os.Stat(target)
					require.NoError(t, err, "link %s", found[1])
				}
				if anchor != "" && strings.HasSuffix(target, ".md") {
					data, err := os.ReadFile(target)
					require.NoError(t, err)
					require.Contains(t, anchors(strings.Split(string(data), "\n")), anchor, "link %s", found[1])
				}
			}
		})
	}
}

// TestDocsNameTheContractsTests compares the table of COMPATIBILITY.md with the
// tests that there are.
func TestDocsNameTheContractsTests(t *testing.T) {
	row := regexp.MustCompile("^\\| ([0-9]) \\| .* \\| (`TestContract.*`) \\|$")
	var documented, found []string
	sections := 0
	for _, line := range documents(t, false)["../docs/COMPATIBILITY.md"] {
		if cells := row.FindStringSubmatch(line); cells != nil {
			sections++
			require.Equal(t, strconv.Itoa(sections), cells[1])
			require.Contains(t, cells[2], "`TestContract"+cells[1])
			documented = append(documented, strings.Split(strings.Trim(cells[2], "`"), "`, `")...)
		}
	}
	require.Equal(t, 8, sections)
	sources, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	test := regexp.MustCompile(`(?m)^func (TestContract\w+)\(`)
	for _, path := range sources {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, match := range test.FindAllSubmatch(source, -1) {
			found = append(found, string(match[1]))
		}
	}
	require.ElementsMatch(t, found, documented)
}

// TestDocsNameEverySetting compares CONFIGURATION.md with what tyk.conf can
// hold: each key with its variable, on one line of a table.
func TestDocsNameEverySetting(t *testing.T) {
	documented := map[string]string{}
	row := regexp.MustCompile("^\\| `([a-z0-9_.]+)` \\|.*\\| `(TYK_GW_[A-Z0-9_]+)` \\|$")
	for _, line := range documents(t, false)["../docs/CONFIGURATION.md"] {
		if cells := row.FindStringSubmatch(line); cells != nil {
			documented[cells[1]] = cells[2]
		}
	}
	settings := map[string]string{}
	var collect func(section reflect.Type, path, prefix string)
	collect = func(section reflect.Type, path, prefix string) {
		for i := range section.NumField() {
			tag := section.Field(i).Tag
			key := path + tag.Get("json")
			if nested, ok := tag.Lookup("envPrefix"); ok {
				collect(section.Field(i).Type, key+".", prefix+nested)
				continue
			}
			settings[key] = prefix + tag.Get("env")
		}
	}
	collect(reflect.TypeFor[config.Config](), "", "TYK_GW_")
	require.Equal(t, settings, documented)
}
