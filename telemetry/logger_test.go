package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/telemetry"
)

func TestNewLoggerFormats(t *testing.T) {
	for _, format := range []string{"", "text", "TEXT", "standard"} {
		t.Run("text for "+format, func(t *testing.T) {
			var out bytes.Buffer
			logger, err := telemetry.NewLogger(&out, "", format)
			require.NoError(t, err)
			logger.Info("bundle loaded", telemetry.KeyBundle, "bundle.zip")
			require.Contains(t, out.String(), `msg="bundle loaded" bundle=bundle.zip`)
		})
	}
	t.Run("json", func(t *testing.T) {
		var out bytes.Buffer
		logger, err := telemetry.NewLogger(&out, "info", "json")
		require.NoError(t, err)
		logger.Info("bundle loaded", telemetry.KeyBundle, "bundle.zip")
		var line map[string]any
		require.NoError(t, json.Unmarshal(out.Bytes(), &line))
		require.Equal(t, "bundle.zip", line["bundle"])
	})
}

func TestNewLoggerRefusals(t *testing.T) {
	_, err := telemetry.NewLogger(&bytes.Buffer{}, "info", "yaml")
	require.EqualError(t, err, `log format "yaml" is not known; use text or json`)
	_, err = telemetry.NewLogger(&bytes.Buffer{}, "loud", "json")
	require.EqualError(t, err, `log level "loud" is not known; use debug, info, warn or error`)
}

func TestNewLoggerDropsLinesBelowLevel(t *testing.T) {
	var out bytes.Buffer
	logger, err := telemetry.NewLogger(&out, "warning", "text")
	require.NoError(t, err)
	logger.Info("not this")
	logger.Warn("but this")
	require.NotContains(t, out.String(), "not this")
	require.Contains(t, out.String(), "but this")
}

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{
		"":        slog.LevelInfo,
		"debug":   slog.LevelDebug,
		"Info":    slog.LevelInfo,
		"warn":    slog.LevelWarn,
		"WARNING": slog.LevelWarn,
		"error":   slog.LevelError,
	} {
		got, err := telemetry.ParseLevel(text)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
}

func TestTokenHash(t *testing.T) {
	const token = "47a0c79c427728b3df4af62b9228c8ae"
	hash := telemetry.TokenHash(token)
	require.Len(t, hash, 12)
	require.Equal(t, hash, telemetry.TokenHash(token), "the same token gives the same hash")
	require.NotEqual(t, hash, telemetry.TokenHash(token+"x"))
	require.NotContains(t, token, hash)
	require.Empty(t, telemetry.TokenHash(""))
}
