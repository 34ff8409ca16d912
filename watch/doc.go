// Package watch tells when files change, for development: a gateway that
// watches what it serves reloads when an author saves a file.
//
// Changes that come together are told of once, when they have paused. Files that
// editors and Python put beside the ones they write are ignored. Directories may be
// replaced as a whole, and links to directories are followed. File systems
// that do not report changes, such as network shares, cannot be watched.
//
// # Concurrency
//
// A [Watcher] is safe for concurrent use. It owns one goroutine, which calls
// Config.Changed and which Close waits for.
package watch
