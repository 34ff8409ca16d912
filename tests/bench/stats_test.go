package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	values := []float64{3, 1, 2}
	require.Equal(t, spread{1, 2, 3}, spreadOf(values))
	require.Equal(t, []float64{3, 1, 2}, values, "the order of the rounds stays")
	require.Equal(t, spread{1, 2.5, 4}, spreadOf([]float64{4, 1, 3, 2}), "an even number has no middle")
	require.Equal(t, spread{7, 7, 7}, spreadOf([]float64{7}))
	require.Equal(t, spread{}, spreadOf(nil))
}

func TestQuantile(t *testing.T) {
	upTo := func(n int) []time.Duration {
		var all []time.Duration
		for i := n; i > 0; i-- {
			all = append(all, time.Duration(i)*time.Microsecond)
		}
		return all
	}
	for name, c := range map[string]struct {
		latencies []time.Duration
		q, want   float64
	}{
		"the middle":                          {upTo(101), 0.5, 51},
		"one in a hundred is slower":          {upTo(1000), 0.99, 991},
		"too few: the slowest":                {upTo(20), 0.99, 20},
		"all":                                 {upTo(5), 1, 5},
		"one":                                 {upTo(1), 0.5, 1},
		"none":                                {nil, 0.99, 0},
		"the slow half does not hide in it":   {append(upTo(10), time.Second, time.Second), 0.99, 1e6},
		"less than a microsecond is not lost": {[]time.Duration{250}, 0.5, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, c.want, quantile(c.latencies, c.q), 1e-9)
		})
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	// The second round was twice as slow for both: their ratio is the same.
	require.Equal(t, []float64{2, 2}, ratio([]float64{20, 10}, []float64{10, 5}))
	require.Equal(t, []float64{2}, ratio([]float64{20, 10}, []float64{10}), "a round that one of them lacks does not count")
	require.Equal(t, []float64{4}, ratio([]float64{1, 8}, []float64{0, 2}), "nor does one without a figure")
	require.Empty(t, ratio(nil, []float64{1}))
	require.Equal(t, []float64{50, 200}, percent([]float64{0.5, 2}))
}

func TestSumsAreTakenWithinARound(t *testing.T) {
	require.Equal(t, []float64{111, 222}, sum([]float64{1, 2}, []float64{10, 20}, []float64{100, 200}))
	require.Empty(t, sum(nil, nil))
}

func TestTargets(t *testing.T) {
	r := sample()
	figures := map[string]spread{}
	verdicts := map[string]bool{}
	for _, each := range targets() {
		figure, met, known := each.measured(r)
		require.True(t, known, each.what)
		figures[each.what], verdicts[each.what] = figure, met
	}
	for what, want := range map[string]struct {
		median float64
		met    bool
	}{
		"a call, 1 caller, to the sum of its parts":                    {1.25, true},
		"64 callers to 1 caller, calls/s":                              {1.2, false},
		"64 callers, p99 to p50":                                       {5, true},
		"Python side to a plain loop of parse, hook, serialise":        {0.8, true},
		"hook that sleeps 5 ms, 64 callers, of the ideal 12,800/s":     {75, true},
		"1000 coroutines that await 50 ms, together":                   {100, true},
		"krait to httputil.ReverseProxy, requests/s":                   {90, false},
		"with a pre hook to without plugin, requests/s":                {80, true},
		"cached identity to no plugin, requests/s":                     {100, true},
		"store_data and get_data to the same hook without, with Redis": {50, true},
		"connections that a call of store_data and get_data opens":     {0.001, true},
		"memory that the last 9/10 of all hooks add":                   {10, false},
	} {
		require.InDelta(t, want.median, figures[what].Median, 1e-6, what)
		require.Equal(t, want.met, verdicts[what], what)
	}
	require.Len(t, targets(), len(figures))
	_, _, known := targets()[0].measured(&results{})
	require.False(t, known, "what was not measured is not shown as met")
}

func TestMemoryOfSeveralProcesses(t *testing.T) {
	var all []memoryPoint
	for _, rss := range []float64{40, 42} {
		all = merge(all, []memoryPoint{{1, []float64{rss}}, {10, []float64{rss + 1}}})
	}
	require.Equal(t, []memoryPoint{{1, []float64{40, 42}}, {10, []float64{41, 43}}}, all)
}

func TestScales(t *testing.T) {
	require.InDelta(t, plotWidth, linear(8)(8), 1e-9)
	require.InDelta(t, plotWidth/4.0, linear(8)(2), 1e-9)
	require.Zero(t, linear(0)(0))
	scale := logarithmicScale(10, 1000)
	require.InDelta(t, plotWidth, scale(1000), 1e-9)
	require.InDelta(t, scale(1000)-scale(100), scale(100)-scale(10), 1e-9, "as far for each power of ten")
	require.Positive(t, scale(10), "the shortest bar is visible")
	require.Zero(t, scale(0))
	for _, value := range []float64{0, 1} { // one bar; and none that has a figure
		length := logarithmicScale(math.Inf(1), value)(value)
		require.False(t, math.IsNaN(length) || math.IsInf(length, 0), length)
	}
}

func TestProcessorTimes(t *testing.T) {
	all, stolen := parseProcessorTimes("cpu  100 1 20 60 5 0 4 10 99 99")
	require.InDelta(t, 200, all, 1e-9, "guests are part of user")
	require.InDelta(t, 10, stolen, 1e-9)
	all, stolen = parseProcessorTimes("cpu  100 one")
	require.Zero(t, all)
	require.Zero(t, stolen)
}

func TestProgramVersions(t *testing.T) {
	for line, want := range map[string]string{
		"nginx version: nginx/1.22.1":                                        "nginx 1.22.1",
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": "redis 7.0.15",
		"wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer":       "wrk debian/4.1.0-3+b2",
		"something else": "something else",
	} {
		require.Equal(t, want, programVersion(line))
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-only", "memory,threads", "-rounds", "1"})
	require.NoError(t, err)
	require.True(t, o.wants("threads"))
	require.False(t, o.wants("gateway"))
	for want, arguments := range map[string][]string{
		`no part "memry"`:   {"-only", "memry"},
		"-rounds 0":         {"-rounds", "0"},
		"-load 1.5s":        {"-load", "1500ms"},
		"-hooks 10":         {"-hooks", "10"},
		"-calls 0s":         {"-calls", "0s"},
		"is not understood": {"dispatch"},
	} {
		_, err := parse(arguments)
		require.ErrorContains(t, err, want)
	}
}

func TestWhatIsMissingIsSaidAtOnce(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := prepared(options{root: t.TempDir()})
	for _, name := range []string{"python3", "krait", redisBinary, wrkBinary, "make setup-bench"} {
		require.ErrorContains(t, err, name)
	}
	err = prepared(options{root: t.TempDir(), only: []string{"memory"}})
	require.NotContains(t, err.Error(), wrkBinary, "nobody needs it")
}
