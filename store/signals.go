package store

import "context"

// Signals lets gateways that share a store wake each other: a signal says that
// something happened, and nothing else, so that whoever can write to the store
// can cause no more than that.
type Signals interface {
	// Signal wakes every subscriber of topic, in this process and in others. It
	// does not wait for them. topic is a short word that is no secret.
	Signal(ctx context.Context, topic string) error
	// Subscribe returns a channel that has an element after each Signal that
	// begins later; several signals may share one. A signal that is given while
	// the store cannot be reached from here is caught up with afterwards. When
	// the store cannot be reached now, there is an element as soon as it can,
	// because nobody knows what was missed. cancel ends the subscription and
	// waits for that; so does Close of the store, without waiting. The channel is
	// never closed.
	Subscribe(ctx context.Context, topic string) (signals <-chan struct{}, cancel func())
}

// SignalKeyPrefix begins the keys under which stores keep the last signal of
// each topic.
const SignalKeyPrefix = "signal:"
