package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSubjectsThatAreComparedAreMeasuredInTurns(t *testing.T) {
	named := func(names ...string) []subject {
		var subjects []subject
		for _, name := range names {
			subjects = append(subjects, subject{name: name})
		}
		return subjects
	}
	subjects := named(subjectUpstream, subjectReverse, subjectPlain, subjectAuth, subjectPre, subjectCached, subjectRedisPre, subjectRedisData)
	groups := grouped(subjects)
	require.Equal(t, [][]subject{
		named(subjectReverse, subjectPlain, subjectPre, subjectCached),
		named(subjectRedisPre, subjectRedisData),
		named(subjectUpstream),
		named(subjectAuth),
	}, groups)

	first := grouped(subjects)
	shuffle(first, 1)
	again := grouped(subjects)
	shuffle(again, 1)
	require.Equal(t, first, again, "a round has one order in every run")
	require.ElementsMatch(t, subjects, slices.Concat(first...))
	shuffle(again, 2)
	require.NotEqual(t, first, again)
}
