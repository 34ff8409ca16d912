package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

// keyPrefix begins the key of every session in the store.
const keyPrefix = "session:"

// Errors of this package, wrapped with what was attempted. Tell them apart with
// errors.Is.
var (
	// ErrNoID says that the session id is empty: nothing may be kept under it,
	// or callers without a token would share a session.
	ErrNoID = errors.New("session id is empty")
	// ErrCorrupt says that what the store holds is not a session that this
	// version wrote. The request must be refused.
	ErrCorrupt = errors.New("stored session is corrupt")
)

// Store keeps sessions. Make one with [NewStore].
type Store struct {
	store store.Store
}

// NewStore returns a Store that keeps its sessions in s. Closing s is up to the
// caller.
func NewStore(s store.Store) *Store { return &Store{store: s} }

// Get returns the session with that id. Without one, the error wraps
// [store.ErrNotFound]; when it can't be read, [ErrCorrupt].
func (s *Store) Get(ctx context.Context, id string) (*coprocesspb.SessionState, error) {
	key, err := keyOf(id)
	if err != nil {
		return nil, fmt.Errorf("get session: %w", err)
	}
	data, err := s.store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("get session %s: %w", Label(id), err)
	}
	state, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("get session %s: %w", Label(id), err)
	}
	return state, nil
}

// Put keeps state under id for ttl, in place of an older one. A ttl of 0 or less
// means no end; see [Lifetime].
func (s *Store) Put(ctx context.Context, id string, state *coprocesspb.SessionState, ttl time.Duration) error {
	key, err := keyOf(id)
	if err != nil {
		return fmt.Errorf("put session: %w", err)
	}
	data, err := encode(state)
	if err != nil {
		return fmt.Errorf("put session %s: %w", Label(id), err)
	}
	if err := s.store.Set(ctx, key, data, ttl); err != nil {
		return fmt.Errorf("put session %s: %w", Label(id), err)
	}
	return nil
}

// Delete removes the session with that id; none is no error.
func (s *Store) Delete(ctx context.Context, id string) error {
	key, err := keyOf(id)
	if err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	if err := s.store.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete session %s: %w", Label(id), err)
	}
	return nil
}

func keyOf(id string) (string, error) {
	if id == "" {
		return "", ErrNoID
	}
	sum := sha256.Sum256([]byte(id))
	return keyPrefix + hex.EncodeToString(sum[:]), nil
}

// Label returns what may be logged of a session id: the first hex digits of its
// SHA-256, with which its key in the store can be found.
func Label(id string) string { return telemetry.TokenHash(id) }
