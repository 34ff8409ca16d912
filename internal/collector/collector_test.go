package collector

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPercentOf(t *testing.T) {
	for name, c := range map[string]struct {
		live uint64
		want int
	}{
		"nothing is alive yet":             {0, 1600},
		"a small heap gets the room":       {8 << 20, 800},
		"a heap of that size follows Go":   {64 << 20, 100},
		"a large heap follows Go":          {4 << 30, 100},
		"in between, the room and no more": {32 << 20, 200},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, percentOf(c.live))
		})
	}
}
