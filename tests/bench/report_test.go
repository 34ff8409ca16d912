package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample is what a run with two rounds could have found.
func sample() *results {
	r := &results{
		Machine:  machine{CPU: "A <fast> one", CPUs: 2, Programs: []string{"nginx 1"}},
		Rounds:   2,
		Dispatch: map[string]series{},
		Floor: series{
			"plain loop": {10, 20}, "plain loop without spec": {7, 14}, "codec": {9.9, 19.8}, "attach": {0.1, 0.2},
			"Python side": {8, 16}, "Python side, not looked at": {4, 8}, "1000 coroutines": {90e3, 110e3},
		},
		Gateway: map[string]series{},
		Memory:  []memoryPoint{{1000, []float64{40, 41}}, {100_000, []float64{50, 50}}, {1_000_000, []float64{54, 56}}},
		Threads: &threadCount{Requests: 9500, Files: 20_000, Threads: []float64{15, 17}, RSS: []float64{400, 420}},
		StartUp: map[string]series{},
	}
	for _, c := range dispatchCases() {
		for _, n := range callers() {
			r.Dispatch[key(c.name, n)] = series{
				"calls/s": {1000, 500}, "p50 µs": {25, 50}, "p99 µs": {125, 250}, "p99/p50": {5, 5}, "allocations": {21, 21},
			}
		}
	}
	r.Dispatch[key("realistic", 64)]["calls/s"] = []float64{1200, 600}
	r.Dispatch[key("time.sleep(0.005)", 64)]["calls/s"] = []float64{9600, 9600}
	for _, name := range gatewayNames() {
		r.Gateway[name] = series{"requests/s": {1000, 500}, "p50 µs": {100, 200}, "p99 µs": {1000, 3000}}
	}
	r.Gateway[subjectPlain]["requests/s"] = []float64{900, 450}
	r.Gateway[subjectPre]["requests/s"] = []float64{720, 360}
	r.Gateway[subjectCached]["requests/s"] = []float64{900, 450}
	r.Gateway[subjectRedisData]["requests/s"] = []float64{500, 250}
	r.Gateway[subjectRedisData][figureConnections] = []float64{0.002, 0}
	for _, count := range apiCounts() {
		r.StartUp[apisKey(count)] = series{"start ms": {100, 120}, "reload ms": {1, 2}, "reload, new bundle ms": {3, 4}, "RSS MB": {40, 41}}
	}
	return r
}

// repository writes a repository with docs/PERFORMANCE.md as it is.
func repository(t *testing.T) (root, document string) {
	t.Helper()
	root = t.TempDir()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "PERFORMANCE.md"))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(benchDir(root), 0o750))
	path := filepath.Join(root, "docs", "PERFORMANCE.md")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return root, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestTheDocumentHasAPlaceForEverySection(t *testing.T) {
	root, document := repository(t)
	require.NoError(t, write(root, sample()))
	text := read(t, document)
	for _, section := range sections() {
		require.Contains(t, text, section(sample()))
	}
	require.Contains(t, text, "| realistic, 64 | 900 (600 to 1,200) | 37.5 (25.0 to 50.0) |")
	require.Contains(t, text, "| 64 callers to 1 caller, calls/s | at least 1.3 | 1.20 | 1.20 to 1.20 | missed |")
	require.Contains(t, text, "9,500 requests at once in a gateway, each through a `pre` hook: 16.0 (15.0 to 17.0) threads")
	require.Contains(t, text, "may have 20,000 files open")
	for name := range plots(sample()) {
		require.Contains(t, text, "(bench/"+name+".svg)")
	}
}

// What is drawn comes from the data file alone.
func TestDrawingAgainChangesNothing(t *testing.T) {
	root, document := repository(t)
	require.NoError(t, write(root, sample()))
	text := read(t, document)
	before := map[string]string{}
	for name, plot := range plots(sample()) {
		before[name] = plot
		require.NoError(t, os.Remove(filepath.Join(benchDir(root), name+".svg")))
	}
	require.NoError(t, run(t.Context(), []string{"-root", root, "-draw"}))
	require.Equal(t, text, read(t, document))
	for name, plot := range before {
		require.Equal(t, plot, read(t, filepath.Join(benchDir(root), name+".svg")))
	}
}

func TestAMissingMarkerIsNamed(t *testing.T) {
	_, err := fill("no markers\n", sample())
	require.ErrorContains(t, err, "<!-- bench: dispatch -->")
	_, err = fill("<!-- bench: dispatch -->\n", sample())
	require.ErrorContains(t, err, "<!-- bench: end -->")
}

func TestPlotsAreXML(t *testing.T) {
	all := plots(sample())
	all["empty"] = barPlot("nothing", "µs", nil, true)
	all["zero"] = barPlot("a < b & c", "µs", []bar{{"zero", spread{}}, {"one", spread{1, 1, 1}}}, true)
	for name, plot := range all {
		require.NotRegexp(t, `NaN|Inf`, plot, name)
		decoder := xml.NewDecoder(bytes.NewReader([]byte(plot)))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
	}
}

func TestNumbers(t *testing.T) {
	for want, value := range map[string]float64{
		"0.09": 0.094, "9.99": 9.99, "12.3": 12.34, "123": 123.4, "1,235": 1234.6, "1,234,568": 1234567.9,
	} {
		require.Equal(t, want, number(value))
	}
}

func TestTablesOfSomePartsHaveNoOthers(t *testing.T) {
	r := &results{Memory: sample().Memory}
	text := tables(r)
	require.Contains(t, text, "1,000,000")
	require.NotContains(t, text, "cgo call")
	require.NotContains(t, text, "requests/s")
}
