// Package tests drives the built binary as its users do: bin/krait as a process
// of its own, a real Python, a real redis-server, servers on loopback ports.
// Make builds the binary first; the tests start everything else and end it.
package tests
