package oauth

import (
	"errors"
	"fmt"
)

// Errors of [Checker.Check]. Tell them apart with errors.Is. None of them shows
// the token or what it claims.
var (
	// ErrInvalid says that the token is refused. The four below are it too, in
	// more detail.
	ErrInvalid = errors.New("token is refused")
	// ErrExpired says that the time of the token is over.
	ErrExpired = fmt.Errorf("%w: it has expired", ErrInvalid)
	// ErrNotYetValid says that the token is for later (nbf, iat).
	ErrNotYetValid = fmt.Errorf("%w: it is not valid yet", ErrInvalid)
	// ErrInactive says that the provider does not know the token, or has
	// revoked it.
	ErrInactive = fmt.Errorf("%w: the identity provider says that it is not active", ErrInvalid)
	// ErrNoIdentity says that the token does not tell whose it is.
	ErrNoIdentity = fmt.Errorf("%w: it has no usable identity", ErrInvalid)

	// ErrUnavailable says that the provider could not be asked, or gave no
	// usable answer: nothing is known about the token.
	ErrUnavailable = errors.New("identity provider gave no usable answer")
	// ErrClosed says that the Checker was closed.
	ErrClosed = errors.New("checker of tokens is closed")
)
