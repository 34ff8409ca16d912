package config

import (
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"
)

const redacted = "[redacted]"

// Secret is text that must not be shown: however it is printed, logged or
// marshalled, "[redacted]" comes out. Convert it to string to use it.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a time.Duration that is written as text, for example "10s".
type Duration time.Duration

// String returns the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New(`is not a duration such as "500ms", "10s" or "1m"`)
	}
	*d = Duration(parsed)
	return nil
}

func joinHosts(hosts map[string]string) []string {
	var addresses []string
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		addresses = append(addresses, net.JoinHostPort(host, hosts[host]))
	}
	return addresses
}
