package gateway

import (
	"sync"
	"time"
)

// sparingInterval is how often a fault that every request meets is logged.
const sparingInterval = 10 * time.Second

// sparing lets one log line through in a sparingInterval. The zero value is
// ready. It is safe for concurrent use.
type sparing struct {
	mu      sync.Mutex
	next    time.Time
	skipped int
}

// allow reports whether to log, and how many lines were left out since the
// last one.
func (s *sparing) allow() (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped = s.skipped, 0
	s.next = now.Add(sparingInterval)
	return skipped, true
}
