package bridge

import (
	"fmt"

	coprocess "github.com/krait-gateway/krait"
)

// PyError is a Python exception that came out of plugin code.
//
// errors.Is tells its cause: [coprocess.ErrTimeout] when the hook was
// interrupted, [coprocess.ErrHookNotFound] when the code lacks a function,
// else [coprocess.ErrHook].
type PyError struct {
	// Type is the exception's class name, for example KeyError.
	Type string
	// Message is what str() of the exception gives, on one line.
	Message string
	// Trace is the full traceback, with causes, as Python prints it.
	Trace string

	kind error
}

// Error is one line; the traceback is for the log.
func (e *PyError) Error() string {
	if e.Message == "" {
		return e.Type
	}
	return fmt.Sprintf("%s: %s", e.Type, e.Message)
}

// Traceback returns the traceback as Python prints it.
func (e *PyError) Traceback() string { return e.Trace }

// Unwrap returns the sentinel of package coprocess that e belongs to.
func (e *PyError) Unwrap() error {
	if e.kind == nil {
		return coprocess.ErrHook
	}
	return e.kind
}
