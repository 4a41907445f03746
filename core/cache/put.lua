-- Stores an entry, and lets others of its tenant go until all of them fit into the tenant's budget: first what has run out,
-- then what was not asked for longest (by the last touch that was written: about a second exact).
-- KEYS  entry; and of the tenant: used (zset, key by last use), ends (zset, key by end), about (hash, key to "bytes|json"),
--       state (hash: bytes = sum of all, since = the last invalidation)
-- ARGV  key, value, ttl_ms, budget in bytes, about as json, began_ms_ago (the answer was asked for so long ago), prefix of entries
-- Times are milliseconds of this server's clock. Returns 1 if it was stored, 0 if an invalidation came in between, -1 if it is too
-- large for the budget.
local entry, used, ends, about, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local key, value, ttl, budget = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

if now - tonumber(ARGV[6]) <= tonumber(redis.call('HGET', state, 'since') or '0') then return 0 end
local bytes = #value + #ARGV[5] + 2 * #key + 200
if bytes > budget then return -1 end

local function forget(gone)
  local told = redis.call('HGET', about, gone)
  if told then redis.call('HINCRBY', state, 'bytes', -tonumber(string.match(told, '^%d+'))) end
  redis.call('HDEL', about, gone)
  redis.call('ZREM', used, gone)
  redis.call('ZREM', ends, gone)
end

-- A full Redis refuses a script's first write only, and only one that takes memory: without this one the deletions below would be
-- the first, and all the rest would pass.
redis.call('HINCRBY', state, 'bytes', 0)
forget(key)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 200)) do forget(gone) end
local sum = tonumber(redis.call('HGET', state, 'bytes') or '0')
while sum + bytes > budget do
  local oldest = redis.call('ZRANGE', used, 0, 15)
  if #oldest == 0 then break end
  for _, gone in ipairs(oldest) do
    if sum + bytes <= budget then break end
    forget(gone)
    redis.call('UNLINK', ARGV[7] .. gone)
    sum = tonumber(redis.call('HGET', state, 'bytes') or '0')
  end
end

redis.call('SET', entry, value, 'PX', ttl)
redis.call('ZADD', used, now, key)
redis.call('ZADD', ends, now + ttl, key)
redis.call('HSET', about, key, bytes .. '|' .. ARGV[5])
redis.call('HINCRBY', state, 'bytes', bytes)
-- The books go when the last entry of a tenant that is seen no more has gone.
for _, book in ipairs({used, ends, about, state}) do
  if redis.call('PTTL', book) < ttl + 60000 then redis.call('PEXPIRE', book, ttl + 60000) end
end
return 1
