// Package coprocess is the seam between a gateway and the plugin code it runs:
// the [Dispatcher] that carries messages to plugin code, the [Driver] that
// makes a bundle's code callable, the [Host] that answers plugin code, and the
// errors by which a gateway tells failures apart.
//
// Package bridge (embedded CPython) and package grpcdriver (a remote plugin
// server) implement Driver; package hook consumes Dispatcher. The four C
// functions of api.h, which plugin code reaches with ctypes or from a compiled
// extension module, are exported here and call the Host that [BindHost] set.
//
// All implementations must be safe for concurrent use.
package coprocess
