// Package telemetry makes the structured logger that every other package
// receives, and holds the keys under which they log.
//
// The package keeps no state. A logger that [NewLogger] returned is safe for
// concurrent use, as every *slog.Logger is; w is written to under one lock, a
// whole line at a time.
package telemetry
