-- Lets entries of a tenant go, and refuses those whose answer was asked for before now.
-- KEYS  of the tenant: used, ends, about, state, as in put.lua
-- ARGV  prefix of entries, the keys
-- Returns how many went.
local used, ends, about, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', state, 'since', now)
if redis.call('PTTL', state) < 90000000 then redis.call('PEXPIRE', state, 90000000) end
local count = 0
for place = 2, #ARGV do
  local key = ARGV[place]
  local told = redis.call('HGET', about, key)
  if told then redis.call('HINCRBY', state, 'bytes', -tonumber(string.match(told, '^%d+'))) end
  redis.call('HDEL', about, key)
  redis.call('ZREM', used, key)
  redis.call('ZREM', ends, key)
  count = count + redis.call('UNLINK', ARGV[1] .. key)
end
return count
