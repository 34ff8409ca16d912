package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// number shows value with three digits or so.
func number(value float64) string {
	switch {
	case value >= 1000:
		text := fmt.Sprintf("%.0f", value)
		for at := len(text) - 3; at > 0; at -= 3 {
			text = text[:at] + "," + text[at:]
		}
		return text
	case value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	default:
		return fmt.Sprintf("%.2f", value)
	}
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s to %s)", number(s.Median), number(s.Min), number(s.Max))
}

// table renders rows of subjects with these figures.
func table(head string, names, figures []string, of map[string]series) string {
	if len(of) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|%s\n", head, strings.Join(figures, " | "), strings.Repeat(" --- |", len(figures)+1))
	for _, name := range names {
		if of[name] == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s |", name)
		for _, figure := range figures {
			if len(of[name][figure]) == 0 {
				b.WriteString(" |")
				continue
			}
			fmt.Fprintf(&b, " %s |", of[name].spread(figure))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func dispatchTable(r *results) string {
	var names []string
	for _, c := range dispatchCases() {
		for _, n := range callers() {
			names = append(names, key(c.name, n))
		}
	}
	return table("hook, callers", names, []string{"calls/s", "p50 µs", "p99 µs", "allocations"}, r.Dispatch)
}

func floorTable(r *results) string {
	if len(r.Floor) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| part | µs |\n| --- | --- |\n")
	for _, part := range []struct{ name, what string }{
		{"attach", "cgo call that takes the GIL and gives it back"},
		{"codec", "encode and decode the message in Go"},
		{"plain loop", "parse, call the hook, serialise: a plain Python loop"},
		{"plain loop without spec", "the same without the dict `spec`"},
		{"Python side", "krait's Python side, in a plain Python loop"},
		{"Python side, not looked at", "the same where the hook does not look at the request"},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", part.what, r.Floor.spread(part.name))
	}
	return b.String()
}

func gatewayNames() []string {
	return []string{
		subjectUpstream, subjectNginx, subjectReverse, subjectPlain, subjectPre, subjectPreRead, subjectAuth, subjectCached,
		subjectSleep, subjectAwait, subjectGRPC, subjectRedisPre, subjectRedisData,
	}
}

func gatewayTable(r *results) string {
	return table("subject", gatewayNames(), []string{"requests/s", figureCPU, "p50 µs", "p99 µs"}, r.Gateway)
}

func memoryTable(r *results) string {
	var b strings.Builder
	if r.Memory != nil {
		b.WriteString("| hooks | resident memory, MB |\n| --- | --- |\n")
	}
	for _, point := range r.Memory {
		fmt.Fprintf(&b, "| %s | %s |\n", number(float64(point.Hooks)), spreadOf(point.RSS))
	}
	if c := r.Threads; c != nil {
		fmt.Fprintf(&b, "\nWith %s requests at once in a gateway, each through a `pre` hook: %s threads, %s MB.\n",
			number(float64(c.Requests)), spreadOf(c.Threads), spreadOf(c.RSS))
		if c.Requests < mostRequests {
			fmt.Fprintf(&b, "More do not fit: a process may have %s files open here, and each request takes two.\n", number(float64(c.Files)))
		}
	}
	return b.String()
}

func startUpTable(r *results) string {
	var names []string
	for _, count := range apiCounts() {
		names = append(names, apisKey(count))
	}
	return table("gateway with", names, []string{"start ms", "reload ms", "reload, new bundle ms", "RSS MB"}, r.StartUp)
}

func machineText(r *results) string {
	m := r.Machine
	kind := "CPUs"
	if m.Virtual {
		kind = "CPUs of a virtual machine"
	}
	return fmt.Sprintf("%s, %d %s, %.1f GB; Linux %s; %s; Python %s, protobuf %s; %s. krait %s, %s, rounds: %d. "+
		"Load average before %.2f, after %.2f; the host took away %.1f %% of the processor time.\n",
		m.CPU, m.CPUs, kind, m.MemoryGB, m.Kernel, m.Go, m.Python, m.Protobuf, strings.Join(m.Programs, ", "),
		m.Krait, m.Date, r.Rounds, m.LoadBefore, m.LoadAfter, m.Stolen)
}

// sections are the generated parts of docs/PERFORMANCE.md, by the name in their
// markers.
func sections() map[string]func(*results) string {
	return map[string]func(*results) string{
		"machine": machineText, "targets": targetTable, "dispatch": dispatchTable, "floor": floorTable,
		"gateway": gatewayTable, "memory": memoryTable, "startup": startUpTable,
	}
}

// tables are all sections, for the terminal.
func tables(r *results) string {
	var all []string
	for _, section := range []func(*results) string{floorTable, dispatchTable, gatewayTable, memoryTable, startUpTable} {
		all = append(all, section(r))
	}
	return strings.Join(all, "\n")
}

func benchDir(root string) string { return filepath.Join(root, "docs", "bench") }

// write writes the data below root, and from that the rest.
func write(root string, r *results) error {
	dir := benchDir(root)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, resultsFile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return draw(root)
}

const resultsFile = "results.json"

// draw writes the plots and the tables of the document from the data.
func draw(root string) error {
	dir := benchDir(root)
	data, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil {
		return err
	}
	r := &results{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(r); err != nil {
		return fmt.Errorf("%s: %w", resultsFile, err)
	}
	for name, plot := range plots(r) {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(plot), 0o600); err != nil {
			return err
		}
	}
	path := filepath.Join(root, "docs", "PERFORMANCE.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	document, err := fill(string(text), r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(document), 0o600)
}

// fill replaces what is between the markers of each section.
func fill(text string, r *results) (string, error) {
	all := sections()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		begin, end := "<!-- bench: "+name+" -->\n", "<!-- bench: end -->"
		before, rest, found := strings.Cut(text, begin)
		if !found {
			return "", fmt.Errorf("the marker %q is missing", strings.TrimSpace(begin))
		}
		_, after, found := strings.Cut(rest, end)
		if !found {
			return "", fmt.Errorf("the marker %q after %q is missing", end, strings.TrimSpace(begin))
		}
		text = before + begin + "\n" + all[name](r) + "\n" + end + after
	}
	return text, nil
}
