// Package gateway serves APIs: it routes requests by listen path and domain,
// runs each API's chain of hooks, authentication and session checks (contract
// section 1), and proxies to the upstream.
//
// # Routing
//
// A listen path matches whole segments: /orders/ and /orders mean the same and
// take /orders, /orders/ and everything below, but not /orders-archive. The
// deepest listen path wins; of two APIs with one listen path the one with the
// request's domain wins. Matching is done on the decoded path with repeated
// slashes counted as one, so that no spelling reaches a different API than the
// upstream would serve. Paths with "." or ".." segments are redirected to their
// plain form, or refused with 400 when the segments are percent-encoded or stand
// beside a backslash. No match, or an inactive API, is 404.
//
// The health endpoint and the status endpoint are found at exactly their paths,
// before any API.
//
// # Failing closed
//
// An API whose definition, bundle, driver or hooks are not usable answers every
// request with 503. The reason is in the log and on the status endpoint, never
// in the answer. Other APIs are not affected, and none waits for the loading of
// another for longer than a few seconds.
//
// When the store is away, stored keys and sessions of identities cannot be looked
// up, and requests that need one are refused with 503; requests that an
// auth_check hook authenticates go on, without their session being stored, and
// nobody is known from before.
// Sessions with a rate or a quota are refused with 503 when their requests cannot
// be counted, and with 403 when their policies cannot be applied.
//
// # Reloading
//
// What cannot be loaded leaves the version before in service, definition and
// code together, unless the newest definition asks for other protection than that
// has. Nothing that goes wrong with a reload ends what is served.
//
// # Upstreams
//
// The path that is sent is that of proxy.target_url followed by the request's,
// as the client spelled it. As in the reference, X-Forwarded-For is appended to
// and no other header is added; failures are 500, or 504 after
// proxy_default_timeout.
//
// # What clients cannot do
//
// Fields that concern the client's connection, those that its Connection field
// names, and trailers are removed before the first hook, so that a client cannot
// undo what a hook sets; a connection is upgraded to a websocket only. Bodies
// that are buffered for hooks are bounded, each and together, and a body that
// stops arriving is given up.
//
// # Concurrency
//
// All methods of [Gateway] and [Host] are safe for concurrent use. The APIs
// being served are an immutable snapshot; [Gateway.Load] swaps in a new one. APIs,
// plugin code, bundles and connections are counted by their users and freed
// after the last of them: what two snapshots have in common outlives the first.
// One [Gateway.Load] runs at a time, and one [Gateway.Reload], which coalesces
// what is asked for meanwhile. [Gateway] starts goroutines that [Gateway.Close]
// waits for.
package gateway
