// Package tests drives the built binary as its users do: bin/krait as a process
// of its own, a real Python, a real redis-server, servers on loopback ports.
// Make builds the binary first; the tests start everything else and end it.
//
// TestContract1Chain to TestContract8Events, in files contract_*_test.go, are the
// rows of the plugin contract; docs/COMPATIBILITY.md says which test shows which
// section. Most of them use one plugin, the probe (probe_test.go), which does what
// a request tells it, in Python and behind gRPC.
package tests
