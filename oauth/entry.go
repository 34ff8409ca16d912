package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// entry is what the cache keeps of an outcome. Times are in Unix seconds.
type entry struct {
	Active bool `json:"active"`
	// Until is when the entry ends to count. Expires and Begins are those of
	// the outcome, nil when nothing is said.
	Until   float64        `json:"until"`
	Expires *float64       `json:"expires,omitempty"`
	Begins  *float64       `json:"begins,omitempty"`
	Claims  map[string]any `json:"claims,omitempty"`
	JWT     string         `json:"jwt,omitempty"`
}

// newEntry returns o for the store.
func newEntry(o *outcome, until time.Time) *entry {
	e := &entry{Active: o.active, Until: unixSeconds(until), Claims: o.claims, JWT: o.jwt}
	// JSON has no infinity.
	if !math.IsInf(o.expires, 0) {
		e.Expires = &o.expires
	}
	if !math.IsInf(o.begins, 0) {
		e.Begins = &o.begins
	}
	return e
}

// outcome is newEntry undone.
func (e *entry) outcome() *outcome {
	o := &outcome{active: e.Active, claims: e.Claims, jwt: e.JWT, expires: math.Inf(1), begins: math.Inf(-1)}
	if e.Expires != nil {
		o.expires = *e.Expires
	}
	if e.Begins != nil {
		o.begins = *e.Begins
	}
	return o
}

func decodeEntry(plain []byte) (*entry, error) {
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber()
	e := new(entry)
	if err := decoder.Decode(e); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	return e, nil
}
