// Package session keeps the session of each caller: who it is, until when, and
// what it may still use.
//
// [Store] keeps sessions in a [store.Store], under keys that hold a SHA-256 of
// the session id: an id is often a token, and a token must not be readable in
// the store. [Lifetime] says how long a session is kept, [Check] whether it may
// be used, [MergePreservingQuota] what of an existing session outlives a new
// login.
//
// A session that can't be read is an error and never a session: callers refuse
// the request (fail closed).
//
// # Concurrency
//
// A [Store] is safe for concurrent use; every Get returns a message of its own.
// Two gateways that put one session at the same time do not wait for each other,
// the last one wins. The functions change nothing but their arguments.
package session
