package main

import (
	"fmt"
	"strings"
)

// target is a goal, and what was measured for it.
type target struct {
	what  string
	goal  string
	limit float64
	// least: the figure has to be at least limit, else at most.
	least  bool
	format string
	figure func(*results) []float64
}

func (t target) measured(r *results) (figure spread, met, known bool) {
	values := t.figure(r)
	if len(values) == 0 {
		return spread{}, false, false
	}
	figure = spreadOf(values)
	if t.least {
		return figure, figure.Median >= t.limit, true
	}
	return figure, figure.Median <= t.limit, true
}

func percent(values []float64) []float64 {
	for i := range values {
		values[i] *= 100
	}
	return values
}

func targets() []target {
	dispatched := func(name string, n int, figure string) func(*results) []float64 {
		return func(r *results) []float64 { return r.Dispatch[key(name, n)][figure] }
	}
	share := func(of, to string) func(*results) []float64 {
		return func(r *results) []float64 {
			return percent(ratio(r.Gateway[of]["requests/s"], r.Gateway[to]["requests/s"]))
		}
	}
	return []target{
		{
			"a call, 1 caller, to the sum of its parts", "at most 1.3", 1.3, false, "%.2f",
			func(r *results) []float64 {
				parts := sum(r.Floor["plain loop"], r.Floor["codec"], r.Floor["attach"])
				return ratio(r.Dispatch[key("realistic", 1)]["p50 µs"], parts)
			},
		},
		{
			"64 callers to 1 caller, calls/s", "at least 1.3", 1.3, true, "%.2f",
			func(r *results) []float64 {
				return ratio(r.Dispatch[key("realistic", 64)]["calls/s"], r.Dispatch[key("realistic", 1)]["calls/s"])
			},
		},
		{"64 callers, p99 to p50", "at most 10", 10, false, "%.1f", dispatched("realistic", 64, "p99/p50")},
		{
			"Python side to a plain loop of parse, hook, serialise", "at most 1.10", 1.1, false, "%.2f",
			func(r *results) []float64 { return ratio(r.Floor["Python side"], r.Floor["plain loop"]) },
		},
		{
			"hook that sleeps 5 ms, 64 callers, of the ideal 12,800/s", "at least 70 %", 70, true, "%.0f %%",
			func(r *results) []float64 {
				var shares []float64
				for _, rate := range r.Dispatch[key("time.sleep(0.005)", 64)]["calls/s"] {
					shares = append(shares, rate/128)
				}
				return shares
			},
		},
		{
			"1000 coroutines that await 50 ms, together", "about 50 ms and overhead", 150, false, "%.0f ms",
			func(r *results) []float64 {
				var took []float64
				for _, each := range r.Floor["1000 coroutines"] {
					took = append(took, each/1000)
				}
				return took
			},
		},
		{"krait to httputil.ReverseProxy, requests/s", "at least 95 %", 95, true, "%.0f %%", share(subjectPlain, subjectReverse)},
		{"with a pre hook to without plugin, requests/s", "at least 80 %", 80, true, "%.0f %%", share(subjectPre, subjectPlain)},
		{"cached identity to no plugin, requests/s", "at least 90 %", 90, true, "%.0f %%", share(subjectCached, subjectPlain)},
		{"store_data and get_data to the same hook without, with Redis", "at least 50 %", 50, true, "%.0f %%", share(subjectRedisData, subjectRedisPre)},
		{
			"connections that a call of store_data and get_data opens", "none (0.01)", 0.01, false, "%.4f",
			func(r *results) []float64 { return r.Gateway[subjectRedisData][figureConnections] },
		},
		{"memory that the last 9/10 of all hooks add", "no more than noise (5 %)", 5, false, "%.1f %%", growth},
	}
}

// growth is what the last nine tenths of the hooks add to the memory, in percent.
func growth(r *results) []float64 {
	if len(r.Memory) < 3 {
		return nil
	}
	var added []float64
	for _, quotient := range percent(ratio(r.Memory[len(r.Memory)-1].RSS, r.Memory[1].RSS)) {
		added = append(added, quotient-100)
	}
	return added
}

// targetTable shows goals and figures side by side.
func targetTable(r *results) string {
	var b strings.Builder
	b.WriteString("| target | goal | median | minimum to maximum | |\n| --- | --- | --- | --- | --- |\n")
	for _, t := range targets() {
		figure, met, known := t.measured(r)
		if !known {
			continue
		}
		verdict := "missed"
		if met {
			verdict = "met"
		}
		show := func(value float64) string { return fmt.Sprintf(t.format, value) }
		fmt.Fprintf(&b, "| %s | %s | %s | %s to %s | %s |\n", t.what, t.goal, show(figure.Median), show(figure.Min), show(figure.Max), verdict)
	}
	return b.String()
}
