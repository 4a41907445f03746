-- Counts one request against a limit per sliding minute, in buckets of one second.
-- Whole buckets are kept until every moment in them is a minute old, so no sixty seconds ever hold more than the limit.
--
-- KEYS[1]  hash of one API key: second (Unix time) -> requests accepted in it
-- ARGV[1]  requests allowed per minute
--
-- Returns {accepted 0|1, requests left, milliseconds until a place is free (0 when accepted)}.
local limit = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1])
local buckets = redis.call('HGETALL', KEYS[1])
local used, oldest = 0, now
for i = 1, #buckets, 2 do
  local second = tonumber(buckets[i])
  if second <= now - 61 then
    redis.call('HDEL', KEYS[1], buckets[i])
  else
    used = used + tonumber(buckets[i + 1])
    if second < oldest then oldest = second end
  end
end
if used >= limit then
  local into_second = math.floor(tonumber(time[2]) / 1000)
  return {0, 0, (oldest + 61 - now) * 1000 - into_second}
end
redis.call('HINCRBY', KEYS[1], now, 1)
redis.call('EXPIRE', KEYS[1], 62)
return {1, limit - used - 1, 0}
