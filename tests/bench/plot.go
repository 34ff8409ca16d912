package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// bar is one line of a plot: the median, and a whisker over all rounds.
type bar struct {
	name  string
	value spread
}

const (
	barHeight  = 22
	labelWidth = 330
	plotWidth  = 520
	valueWidth = 110
	plotMargin = 12
	titleRoom  = 48
	barGap     = 6
	whisker    = 4
)

// barPlot draws bars as SVG. logarithmic is for values that are far apart.
func barPlot(title, unit string, bars []bar, logarithmic bool) string {
	most, least := 0.0, math.Inf(1)
	for _, one := range bars {
		most = math.Max(most, one.value.Max)
		if one.value.Min > 0 {
			least = math.Min(least, one.value.Min)
		}
	}
	scale := linear(most)
	if logarithmic {
		scale = logarithmicScale(least, most)
	}
	if logarithmic {
		unit += ", logarithmic"
	}
	height := titleRoom + len(bars)*barHeight + plotMargin
	width := labelWidth + plotWidth + valueWidth
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="15" font-weight="bold">%s</text>`+"\n", plotMargin, html.EscapeString(title))
	fmt.Fprintf(&b, `<text x="%d" y="38" fill="#555555">%s: median, minimum to maximum</text>`+"\n", plotMargin, html.EscapeString(unit))
	for i, one := range bars {
		top := float64(titleRoom + i*barHeight)
		middle := top + barHeight/2
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", labelWidth-plotMargin, middle+whisker, html.EscapeString(one.name))
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n",
			labelWidth, top+barGap/2, scale(one.value.Median), barHeight-barGap, colour(one.name))
		fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fV%.1f" stroke="#222222" fill="none"/>`+"\n",
			labelWidth+scale(one.value.Min), middle-whisker, middle+whisker,
			labelWidth+scale(one.value.Min), middle, labelWidth+scale(one.value.Max),
			labelWidth+scale(one.value.Max), middle-whisker, middle+whisker)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", labelWidth+scale(one.value.Max)+whisker+2, middle+whisker, number(one.value.Median))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// linear returns the length of a bar when most is as long as the plot.
func linear(most float64) func(float64) float64 {
	return func(value float64) float64 {
		if most <= 0 || value <= 0 {
			return 0
		}
		return plotWidth * value / most
	}
}

// logarithmicScale is the same in powers of ten, from a little below least on, so
// that the shortest bar is visible.
func logarithmicScale(least, most float64) func(float64) float64 {
	low := math.Log10(math.Min(least, most)) - 0.2
	return func(value float64) float64 {
		if most <= 0 || value <= 0 {
			return 0
		}
		return plotWidth * (math.Log10(value) - low) / (math.Log10(most) - low)
	}
}

// colour tells krait from what it is compared with.
func colour(name string) string {
	if strings.HasPrefix(name, "upstream") || strings.HasPrefix(name, "nginx") || strings.HasPrefix(name, "httputil") {
		return "#b0b7c3"
	}
	return "#3b7dd8"
}

// plots draws what the tables hold, by the name of the file.
func plots(r *results) map[string]string {
	bars := func(names []string, of map[string]series, figure string) []bar {
		var all []bar
		for _, name := range names {
			if of[name] != nil {
				all = append(all, bar{name, of[name].spread(figure)})
			}
		}
		return all
	}
	var dispatch []string
	for _, c := range dispatchCases() {
		for _, n := range callers() {
			dispatch = append(dispatch, key(c.name, n))
		}
	}
	var memory []bar
	for _, point := range r.Memory {
		memory = append(memory, bar{number(float64(point.Hooks)) + " hooks", spreadOf(point.RSS)})
	}
	return map[string]string{
		"dispatch-rate":    barPlot("Calls of hooks, by callers", "calls/s", bars(dispatch, r.Dispatch, "calls/s"), true),
		"dispatch-p99":     barPlot("The slowest hundredth of calls, by callers", "p99 in µs", bars(dispatch, r.Dispatch, "p99 µs"), true),
		"gateway-requests": barPlot("Requests with 64 connections", "requests/s", bars(gatewayNames(), r.Gateway, "requests/s"), false),
		"gateway-p99":      barPlot("The slowest hundredth at 500 requests/s", "p99 in µs", bars(gatewayNames(), r.Gateway, "p99 µs"), true),
		"memory":           barPlot("Resident memory", "MB", memory, false),
	}
}
