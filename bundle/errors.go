package bundle

import (
	"errors"
	"fmt"

	"github.com/krait-gateway/krait/jsonfile"
)

// Errors of this package, wrapped with the bundle's name and what to do. Tell
// them apart with errors.Is. Faults of a manifest are a [*jsonfile.Error].
var (
	// ErrNotFound says that there is no such bundle, on the server or on disk.
	ErrNotFound = errors.New("bundle not found")
	// ErrName says that a bundle's name cannot be used.
	ErrName = errors.New("bundle name is not usable")
	// ErrBroken says that the bundle is not a readable zip, lacks a file, or
	// is damaged.
	ErrBroken = errors.New("bundle is broken")
	// ErrUnsafe says that the archive holds entries that are never unpacked:
	// outside of its directory, links, duplicates, encrypted or absurd ones.
	ErrUnsafe = errors.New("bundle is unsafe to unpack")
	// ErrTooLarge says that a limit of [Limits] was exceeded.
	ErrTooLarge = errors.New("bundle is too large")
	// ErrBadChecksum says that the checksum is missing or not that of the files.
	ErrBadChecksum = errors.New("bundle checksum does not match")
	// ErrUnsigned says that a key is set and a signature is missing.
	ErrUnsigned = errors.New("bundle is not signed")
	// ErrBadSignature says that a signature was not made by the key that is
	// set, or not over this bundle.
	ErrBadSignature = errors.New("bundle signature is not valid")
	// ErrUncovered says that a key is set and the bundle holds files that no
	// signature covers.
	ErrUncovered = errors.New("bundle holds files that file_list does not name")
	// ErrUnsupported says that this gateway cannot run the bundle.
	ErrUnsupported = errors.New("bundle is not supported by this gateway")
	// ErrKey says that a key cannot be used.
	ErrKey = errors.New("key is not usable")
	// ErrClosed says that the Fetcher was closed.
	ErrClosed = errors.New("bundle fetcher is closed")
)

// faults collects everything that is wrong with one file.
type faults struct {
	file string
	list []jsonfile.Fault
}

func (f *faults) add(field, problem, next string) {
	f.list = append(f.list, jsonfile.Fault{File: f.file, Field: field, Problem: problem, Next: next})
}

func (f *faults) err() error { return jsonfile.NewError(f.list) }

// mark wraps detail so that errors.Is(err, sentinel) holds.
func mark(sentinel error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", sentinel, fmt.Errorf(format, args...))
}
