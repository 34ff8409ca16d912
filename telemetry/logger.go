package telemetry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Log formats that [NewLogger] knows.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// tokenHashLen is the number of hexadecimal digits of a [TokenHash]: 48 bits,
// enough to tell the tokens in a log apart.
const tokenHashLen = 12

// NewLogger returns a logger that writes lines of at least level to w.
//
// level is as for [ParseLevel]. format is text (also when empty, and standard,
// which is what Tyk calls it) or json. Anything else is an error that names
// the allowed values.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	least, err := ParseLevel(level)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: least}
	switch strings.ToLower(format) {
	case "", FormatText, "standard":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q is not known; use text or json", format)
	}
}

// ParseLevel returns the level that text names: debug, info, warn, warning or
// error in any letter case. The empty text means info.
func ParseLevel(text string) (slog.Level, error) {
	switch strings.ToLower(text) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, fmt.Errorf("log level %q is not known; use debug, info, warn or error", text)
	}
}

// TokenHash returns a short hash by which an access token can be recognised in
// the log without being readable there. The same token always gives the same
// hash; no token gives "".
func TokenHash(token string) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:tokenHashLen]
}
