// Package store holds bytes under keys for a while: sessions, data that
// plugins keep (tyk.store_data), caches of token checks.
//
// [Store] is the interface; package memory keeps everything in the process,
// package redis in a Redis server that several gateways share. Both pass the
// one suite of package storetest.
//
// # Keys and values
//
// Keys and values are any bytes, NUL and invalid UTF-8 included. An empty value
// is a value, not a missing one. Keys begin with a prefix that ends in a colon
// and names what they are for ("session:", "coprocess-data:"). Anything after
// that prefix may be secret: errors and logs show only what [KeyLabel] leaves.
//
// # Concurrency
//
// All implementations are safe for concurrent use. Writers of one key do not
// wait for each other: the last one wins.
package store
