package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/store"
)

func TestKeyLabel(t *testing.T) {
	for name, tc := range map[string]struct{ key, want string }{
		"prefix is shown, the rest is counted":  {"session:0123456789", "session:<10 bytes>"},
		"only the first colon ends the prefix":  {"coprocess-data:a:b", "coprocess-data:<3 bytes>"},
		"key without a prefix is hidden":        {"s3cr3t", "<6 bytes>"},
		"token that contains a colon is hidden": {"User1:password", "<14 bytes>"},
		"overlong prefix is hidden":             {strings.Repeat("a", 33) + ":x", "<35 bytes>"},
		"NUL ends the search":                   {"a\x00b:c", "<5 bytes>"},
		"empty key":                             {"", "<0 bytes>"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, store.KeyLabel(tc.key))
		})
	}
}
