// Package pylib holds the Python side of the runtime: the tyk package that
// plugins import, the code that loads and calls them, and the messages.
//
// Everything here is constant, so it is safe for concurrent use.
package pylib

import "embed"

// Files holds the modules that an interpreter needs on its path, laid out as
// they are imported: tyk/, gateway.py and the coprocess_*_pb2.py messages. It
// holds no tests and no caches.
//
//go:embed tyk/*.py gateway.py coprocess_*_pb2.py
var Files embed.FS
