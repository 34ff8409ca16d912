package limit

import (
	"context"
	_ "embed" // take.lua
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

//go:embed take.lua
var takeScript string

// resetScript removes both keys of a counter.
const resetScript = `return redis.call('DEL', KEYS[1], KEYS[2])`

var errShape = errors.New("the script answered something else than three numbers")

// Redis counts in a Redis server, for all gateways that use it: its keys are
// limit-rate:{key} and limit-quota:{key}. The braces keep both in one slot of a
// cluster. Make one with [NewRedis].
type Redis struct {
	client goredis.Scripter
	take   *goredis.Script
	reset  *goredis.Script
}

// NewRedis returns a Counter that counts with client, which stays the caller's.
// A client that repeats a command after a broken connection may count a request
// twice.
func NewRedis(client goredis.Scripter) *Redis {
	return &Redis{client: client, take: goredis.NewScript(takeScript), reset: goredis.NewScript(resetScript)}
}

// Take implements [Counter].
func (r *Redis) Take(ctx context.Context, key string, l Limits) (Result, error) {
	return r.run(ctx, key, l, 1)
}

// Peek implements [Counter].
func (r *Redis) Peek(ctx context.Context, key string, l Limits) (Result, error) {
	return r.run(ctx, key, l, 0)
}

func (r *Redis) run(ctx context.Context, key string, l Limits, take int) (Result, error) {
	got, err := r.take.Run(ctx, r.client, keysOf(key),
		l.Rate, l.Per.Microseconds(), l.Quota, l.Renewal.Milliseconds(), take).Int64Slice()
	if err == nil && len(got) != 3 {
		err = errShape
	}
	if err != nil {
		return Result{}, fmt.Errorf("count a request in Redis: %w", err)
	}
	result := Result{Verdict: Verdict(got[0]), Remaining: got[1]}
	if got[2] > 0 {
		result.Renews = time.UnixMilli(got[2])
	}
	return result, nil
}

// Reset implements [Counter].
func (r *Redis) Reset(ctx context.Context, key string) error {
	if err := r.reset.Run(ctx, r.client, keysOf(key)).Err(); err != nil {
		return fmt.Errorf("reset a counter in Redis: %w", err)
	}
	return nil
}

func keysOf(key string) []string {
	return []string{"limit-rate:{" + key + "}", "limit-quota:{" + key + "}"}
}
