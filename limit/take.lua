-- Counts one request. KEYS: time stamps of the requests that passed, oldest
-- first; requests counted towards the quota. ARGV: rate, per (microseconds),
-- quota, renewal (milliseconds), 1 to count or 0 to look. Returns the verdict,
-- what remains of the quota, and the Unix time in milliseconds when it renews, 0
-- for none.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rate, per = tonumber(ARGV[1]), tonumber(ARGV[2])
local quota, renewal = tonumber(ARGV[3]), tonumber(ARGV[4])
local take = ARGV[5] == '1'

if take and rate > 0 then
  -- Only the last requests count, as many as may pass in one window: when the
  -- oldest of them has left the window, there is room.
  redis.call('LTRIM', KEYS[1], -rate, -1)
  if redis.call('LLEN', KEYS[1]) >= rate then
    if now - tonumber(redis.call('LINDEX', KEYS[1], 0)) < per then
      return {1, 0, 0}
    end
    redis.call('LPOP', KEYS[1])
  end
  redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(per / 1000)))
end

if quota <= 0 then
  return {0, 0, 0}
end
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
local left = redis.call('PTTL', KEYS[2])
local verdict = 0
if used >= quota then
  verdict = 2
elseif take then
  used = redis.call('INCR', KEYS[2])
end
-- A quota that just began, or whose renewal was set or shortened since.
if take and renewal > 0 and (left < 0 or left > renewal) then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  left = renewal
end
local renews = 0
if left >= 0 then
  renews = math.floor(now / 1000) + left
end
return {verdict, math.max(quota - used, 0), renews}
