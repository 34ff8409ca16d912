package main

import (
	"slices"
	"time"
)

// spread is one figure over all rounds.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return spread{sorted[0], median(sorted), sorted[len(sorted)-1]}
}

func median(sorted []float64) float64 {
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// quantile returns the q-th part of latencies, which it sorts, in microseconds.
func quantile(latencies []time.Duration, q float64) float64 {
	if len(latencies) == 0 {
		return 0
	}
	slices.Sort(latencies)
	at := min(int(q*float64(len(latencies))), len(latencies)-1)
	return microseconds(latencies[at])
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// series are the figures of one subject, by name, one for each round.
type series map[string][]float64

func (s series) add(name string, value float64) { s[name] = append(s[name], value) }

func (s series) spread(name string) spread { return spreadOf(s[name]) }

// ratio divides round by round.
func ratio(over, under []float64) []float64 {
	var quotients []float64
	for i := range min(len(over), len(under)) {
		if under[i] != 0 {
			quotients = append(quotients, over[i]/under[i])
		}
	}
	return quotients
}

func sum(lists ...[]float64) []float64 {
	var total []float64
	for i := range lists[0] {
		value := 0.0
		for _, list := range lists {
			if i < len(list) {
				value += list[i]
			}
		}
		total = append(total, value)
	}
	return total
}
