// Package event carries what happened in the gateway (an authentication failed,
// a quota is used up, a plugin fired an event of its own) to the handlers that
// API definitions name: the log, an @Event function or gRPC server, a webhook
// (contract section 8).
//
// Events never block or fail a request. [Bus.Fire] puts an event into a bounded
// queue and returns; when the queue is full the event is dropped and counted.
// A handler that fails, hangs or panics costs a log line and its time limit.
//
// # Concurrency
//
// A [Bus] is safe for concurrent use. It owns its worker goroutines, which
// [Bus.Close] ends. Handlers are called from several workers at once, also for
// one API, and in no particular order; all handlers here are safe for that.
package event
