// Package memory is the [store.Store] that keeps everything in this process:
// the default, with nothing to install. Its contents end with the process and
// are not shared with other gateways.
//
// # It is a bounded cache
//
// The entries together weigh at most [Options.MaxBytes]: the bytes of keys and
// values plus a fixed overhead. When a write exceeds that, the entries that were
// used least are evicted before their time, each counted by [Store.Evicted], with
// a warning in the log at most once a minute. Growing without a bound instead
// would let whoever can make up tokens or plugin keys end the process.
//
// Losing an entry early is safe for everything the gateway keeps here that can
// be made anew: the session of an auth_check hook (the hook runs again), cached
// outcomes of token checks, plugin data, which is documented as a cache. What it
// does lose are quota counters and keys created by hand; who needs these to stay
// uses the Redis store, whose eviction policy is the operator's choice.
//
// # Concurrency
//
// A [Store] is safe for concurrent use. It owns one goroutine, which removes
// expired entries once a second and ends with Close; an expired entry is never
// returned, removed or not.
package memory
