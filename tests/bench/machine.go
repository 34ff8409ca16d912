package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures were measured on, and when.
type machine struct {
	CPU        string   `json:"cpu"`
	CPUs       int      `json:"cpus"`
	Virtual    bool     `json:"virtual"`
	MemoryGB   float64  `json:"memory_gb"`
	Kernel     string   `json:"kernel"`
	Go         string   `json:"go"`
	Python     string   `json:"python,omitempty"`
	Protobuf   string   `json:"protobuf,omitempty"`
	Programs   []string `json:"programs,omitempty"` // what krait is compared or measured with
	Krait      string   `json:"krait"`
	Date       string   `json:"date"`
	LoadBefore float64  `json:"load_before"` // of one minute
	LoadAfter  float64  `json:"load_after"`
	// Stolen is how much of the processors' time the host gave to others
	// meanwhile, in percent.
	Stolen float64 `json:"stolen_percent"`
}

func describeMachine(ctx context.Context, root string) machine {
	m := machine{
		CPUs: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: loadAverage(), Date: time.Now().UTC().Format(time.DateOnly),
		Krait: strings.TrimPrefix(firstLine(ctx, filepath.Join(root, "bin", "krait"), "version"), "krait "),
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	const perGB = 1 << 20 // of kB
	if kB, err := numberIn("/proc/meminfo", "MemTotal"); err == nil {
		m.MemoryGB = float64(kB) / perGB
	}
	cpu, flags := textIn("/proc/cpuinfo", "model name"), textIn("/proc/cpuinfo", "flags")
	m.CPU, m.Virtual = cpu, slices.Contains(strings.Fields(flags), "hypervisor")
	for _, one := range [][]string{{nginxBinary, "-v"}, {redisBinary, "--version"}, {wrkBinary, "-v"}} {
		if line := firstLine(ctx, one[0], one[1]); line != "" {
			m.Programs = append(m.Programs, programVersion(line))
		}
	}
	return m
}

// firstLine returns the first line of what a program says; "" when it cannot be
// started. What wrk says of its version is an error to it.
func firstLine(ctx context.Context, name, argument string) string {
	output, _ := exec.CommandContext(ctx, name, argument).CombinedOutput()
	line, _, _ := strings.Cut(string(output), "\n")
	return strings.TrimSpace(line)
}

var versionForms = regexp.MustCompile(`^nginx version: nginx/(?P<nginx>\S+)|^Redis server v=(?P<redis>\S+)|^wrk (?P<wrk>\S+)`)

// programVersion shortens what a program says of its version.
func programVersion(line string) string {
	found := versionForms.FindStringSubmatch(line)
	for i, name := range versionForms.SubexpNames() {
		if i > 0 && found != nil && found[i] != "" {
			return name + " " + found[i]
		}
	}
	return line
}

// processorTimes are the time that all processors had, and what of it the host
// gave to others, in hundredths of a second since the start of the system.
func processorTimes() (all, stolen float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return parseProcessorTimes(line)
}

func parseProcessorTimes(line string) (all, stolen float64) {
	// user, nice, system, idle, iowait, irq, softirq, steal; guests are part
	// of user.
	const times, steal = 8, 7
	fields := strings.Fields(line)
	for i := range min(times, len(fields)-1) {
		value, err := strconv.ParseFloat(fields[i+1], 64)
		if err != nil {
			return 0, 0
		}
		all += value
		if i == steal {
			stolen = value
		}
	}
	return all, stolen
}

func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	load, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		return 0
	}
	return load
}

// processorTime is what process has used of the processors; 0 without one.
func processorTime(process *exec.Cmd) time.Duration {
	if process == nil {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(process.Process.Pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold spaces; user and system time are the
	// 12th and 13th field after it, in hundredths of a second.
	const user, system, tick = 11, 12, 10 * time.Millisecond
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= system {
		return 0
	}
	ticks := 0
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// status reads a number of /proc/PID/status: "VmRSS" in kB, "Threads".
func status(pid int, name string) (int, error) {
	return numberIn("/proc/"+strconv.Itoa(pid)+"/status", name)
}

// numberIn reads a number of a file of lines such as "name: 1 kB".
func numberIn(path, name string) (int, error) {
	return strconv.Atoi(strings.TrimSuffix(textIn(path, name), " kB"))
}

// textIn returns what the first line of name says in such a file.
func textIn(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
