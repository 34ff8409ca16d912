// Package oauth checks access tokens of one identity provider: JWTs by their
// signature, any token by asking the provider about it (introspection, RFC
// 7662), and keeps the answers (contract section 9). The JWT of an answer can
// take the token's place towards the upstream (contract section 10).
//
// [New] makes a [Checker] from what an API definition says about a provider.
// [Checker.Check] tells who the token's caller is, or with which of the errors
// of this package it is refused.
//
// # What is trusted
//
// The algorithms and the kind of key are those of the configuration, never those
// of the token. What is not said by the provider in the form that its standard
// asks for is no permission: active has to be the boolean true, and answers that
// are HTML, redirects, too long or too late are [ErrUnavailable]. An outage of
// the provider refuses tokens; only keys that were fetched before and outcomes
// in the cache are used meanwhile, both for a bounded time.
//
// # The cache
//
// Outcomes of introspection are in a [store.Store], so that gateways share them.
// The key is a SHA-256 of the provider and the token. The value is encrypted with
// a key made of the client secret and the token: who can only read or write the
// store learns no token and no claim, and cannot make up an outcome. A store that
// does not work costs the cache, not the service.
//
// # Concurrency
//
// A [Checker] is safe for concurrent use. Simultaneous checks of one token are
// one request to the provider; it goes on when the caller that began it hangs up.
// [Checker.Close] ends the requests that still run and waits for them. Claims in
// a [Grant] are shared and must not be changed.
package oauth
