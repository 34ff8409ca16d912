// Package redis is the [store.Store] in a Redis server, which several gateways
// share: a single server, a master found by Sentinels, or a Cluster.
//
// [New] does not connect. A gateway starts while Redis is down, calls fail within
// [Options.Timeout] until it is back, and work again then without a restart;
// [Store.Ping] tells which it is.
//
// # Concurrency
//
// A [Store] is safe for concurrent use. It holds one go-redis client with one
// pool of connections for the whole process; [Store.Client] lends it to others
// (limits, reload signals), so that nobody opens connections of their own.
package redis
