//go:build !cgo

package bridge

import (
	"context"

	coprocess "github.com/krait-gateway/krait"
)

// Runtime is the embedded interpreter. Without cgo there is none.
type Runtime struct{}

// Start returns [ErrNoCgo].
func Start(context.Context, Config) (*Runtime, error) { return nil, ErrNoCgo }

// Load returns [ErrNoCgo].
func (*Runtime) Load(context.Context, coprocess.Code) (coprocess.Plugin, error) {
	return nil, ErrNoCgo
}

// State is always [StateStopped].
func (*Runtime) State() State { return StateStopped }

// Python returns nothing.
func (*Runtime) Python() Found { return Found{} }

// Attach is always false.
func (*Runtime) Attach() bool { return false }

// InFlight is always 0.
func (*Runtime) InFlight() int { return 0 }

// Versions returns nothing.
func (*Runtime) Versions() Versions { return Versions{} }

// Stop does nothing.
func (*Runtime) Stop(context.Context) error { return nil }
