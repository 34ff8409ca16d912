// Package limit counts the requests of a session against its rate and its
// quota (contract section 1, step 4).
//
// The rate is a sliding window: of any period of [Limits.Per], at most
// [Limits.Rate] requests pass. The quota is a window that begins with its first
// request and ends [Limits.Renewal] later. Requests that are refused count
// towards neither, except that one refused for its quota has used its place in
// the rate.
//
// There are two drivers. [Memory] counts for one gateway. [Redis] counts for all
// gateways that share a server, in one atomic script, with the server's clock.
// Both hold, for a session, a time stamp for each request that passed within the
// window of the rate, [Limits.Rate] at most.
//
// # Concurrency
//
// All of it is safe for concurrent use: of any number of simultaneous requests
// as many pass as the limits allow.
package limit
