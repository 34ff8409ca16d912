package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

const (
	headerRequestID  = "X-Request-Id"
	maxRequestIDSize = 128
)

// requestIDOf returns the client's X-Request-Id when it is safe to write into
// logs and headers, else a new random id of 32 hex digits.
func requestIDOf(r *http.Request) string {
	if id := r.Header.Get(headerRequestID); saneRequestID(id) {
		return id
	}
	var raw [16]byte
	// crypto/rand.Read never fails: it ends the process where it would have to.
	_, _ = rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

func saneRequestID(id string) bool {
	if id == "" || len(id) > maxRequestIDSize {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
