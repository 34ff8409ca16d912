package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// repeatEvery is how often the same kind of library message is logged at most:
// while Redis is down, every attempt to connect makes one.
const repeatEvery = 10 * time.Second

// LogTo sends what the go-redis library has to say (a new master, a Sentinel
// found, connections that can't be opened) to logger, in place of its own lines
// on standard error: one message of a kind in 10 seconds, with the number of
// those left out. The library has one logger for the whole process: call LogTo
// once, from main, before the first [New].
func LogTo(logger *slog.Logger) {
	goredis.SetLogger(&libraryLog{logger: logger, kinds: make(map[string]*kind)})
}

// libraryLog is safe for concurrent use.
type libraryLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	kinds  map[string]*kind // by format string, which are constants of the library
}

type kind struct {
	last    time.Time
	skipped int
}

// Printf is what go-redis calls.
func (l *libraryLog) Printf(ctx context.Context, format string, args ...any) {
	skipped, ok := l.admit(format, time.Now())
	if !ok {
		return
	}
	level := slog.LevelInfo
	if strings.Contains(format, "fail") || strings.Contains(format, "panic") {
		level = slog.LevelWarn
	}
	l.logger.Log(ctx, level, "redis client", "detail", fmt.Sprintf(format, args...), "skipped_before", skipped)
}

// admit says whether a message may be logged now, and how many of its kind were
// not since the last one that was.
func (l *libraryLog) admit(format string, now time.Time) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[format]
	if k == nil {
		k = &kind{}
		l.kinds[format] = k
	}
	if now.Sub(k.last) < repeatEvery {
		k.skipped++
		return 0, false
	}
	skipped, k.skipped, k.last = k.skipped, 0, now
	return skipped, true
}
