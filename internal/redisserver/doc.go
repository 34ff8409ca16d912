// Package redisserver starts real redis-server processes for tests: plain, with
// TLS, as a cluster of one node, or as a Sentinel. Each listens on a free
// loopback port, keeps nothing on disk and ends with its test.
//
// A missing redis-server fails the test; nothing is skipped.
//
// A [Server] belongs to its test's goroutine: Stop and Restart are not safe for
// concurrent use.
package redisserver
