// Package grpcdriver is the [coprocess.Driver] for plugins that are servers of
// their own: they offer the service coprocess.Dispatcher of
// proto/coprocess_object.proto (contract section 7).
//
// A [Driver] has one connection to one plugin server, which all its plugins
// share. It connects in the background and again after every loss, waiting
// longer from attempt to attempt, up to 5 seconds: a server that is down fails
// calls with [coprocess.ErrNotReady] and nothing else. No call is made twice
// once the server may have seen it.
//
// There is no code to load, and a server does not say which hooks it has: a
// hook name that the server does not know shows with the first call only.
//
// The id of the HTTP request that a call belongs to is sent as the metadata
// x-request-id.
//
// All exported methods are safe for concurrent use.
package grpcdriver
