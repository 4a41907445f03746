-- Sets an amount aside on several accounts at once: on all of them or, when one has no room, on none.
--
-- An account counts what was taken and has not left it. Taken amounts leave when their time is up (a window of tokens) or when
-- they were settled and a newer base, read from Postgres, holds them (money, places in the queue). So the sum is never too
-- small, a settlement that gets lost leaves by itself, and a base may come late.
--
-- KEYS[i]  hash of account i: "sum", "base", "base_at" (µs), and for every amount "a:<id>" -> amount
--          KEYS[i]..":o"  sorted set: id of an amount not settled, or of a window -> when it leaves (ms)
--          KEYS[i]..":s"  sorted set: id of a settled amount -> when it was settled (µs)
-- ARGV[1]  id of the reservation
-- ARGV[2]  milliseconds after which a base is too old to go by
-- then six for each account: limit, amount, milliseconds that the amount stays, kind ("window", "based" or "plain"),
--          base or "", the Redis time at which reading the base began (µs) or ""
--
-- Returns {state, now (µs), account, ms to wait, used 1, used 2, …}: state 1 taken, 0 no room on `account` (wait: until there is
-- room, where that is known), 2 the base of `account` must be read. `used` is without the amount unless taken.
local EACH, MOST_SETTLED, MOST_LEAVING = 6, 1000, 1000
local id = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now_ms = math.floor(now / 1000)

local function number(value) return string.format('%.0f', value) end

-- The parts of an account leave together: a sum must not outlive its amounts.
local function lives(key, ms)
  local longest = number(math.max(ms, redis.call('PTTL', key)))
  for _, part in ipairs({key, key .. ':o', key .. ':s'}) do redis.call('PEXPIRE', part, longest) end
end

local function drop(key, set, ids)
  for _, gone in ipairs(ids) do
    local amount = redis.call('HGET', key, 'a:' .. gone)
    if amount then
      redis.call('HINCRBY', key, 'sum', '-' .. amount)
      redis.call('HDEL', key, 'a:' .. gone)
    end
    redis.call('ZREM', set, gone)
  end
end

local used, held, refused, stale = {}, {}, 0, 0
for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * EACH
  local limit, amount, kind = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 4]
  local open, settled = key .. ':o', key .. ':s'
  drop(key, open, redis.call('ZRANGEBYSCORE', open, '-inf', now_ms, 'LIMIT', 0, MOST_LEAVING))
  local state = redis.call('HMGET', key, 'sum', 'base', 'base_at', 'a:' .. id)
  local base, base_at = tonumber(state[2] or 0), tonumber(state[3] or 0)
  if kind == 'based' then
    local fresh, fresh_at = ARGV[at + 5], tonumber(ARGV[at + 6])
    if fresh ~= '' and fresh_at > base_at then
      base, base_at = tonumber(fresh), fresh_at
      redis.call('HSET', key, 'base', fresh, 'base_at', number(fresh_at))
      drop(key, settled, redis.call('ZRANGEBYSCORE', settled, '-inf', number(fresh_at)))
      state = redis.call('HMGET', key, 'sum', 'base', 'base_at', 'a:' .. id)
    end
    local too_many = fresh == '' and redis.call('ZCARD', settled) > MOST_SETTLED
    if stale == 0 and (base_at < now - tonumber(ARGV[2]) * 1000 or too_many) then stale = i end
  end
  used[i] = base + tonumber(state[1] or 0)
  held[i] = state[4]
  -- What would never fit may pass when nothing else counts: it would wait for ever. Money has no such mercy.
  local alone = kind == 'window' and used[i] == 0
  if refused == 0 and not held[i] and not alone and used[i] + math.max(amount, 1) > limit then refused = i end
end

if stale > 0 then return {2, number(now), stale, 0} end

local reply = {refused > 0 and 0 or 1, number(now), refused, 0}
if refused > 0 then
  local at = 2 + (refused - 1) * EACH
  if ARGV[at + 4] == 'window' then
    local key, excess = KEYS[refused], used[refused] + tonumber(ARGV[at + 2]) - tonumber(ARGV[at + 1])
    -- By batches from the oldest: one that would never fit waits until the window is empty.
    local leaving = redis.call('ZRANGE', key .. ':o', 0, 199, 'WITHSCORES')
    for n = 1, #leaving, 2 do
      reply[4] = math.max(1, tonumber(leaving[n + 1]) - now_ms + 1)
      excess = excess - tonumber(redis.call('HGET', key, 'a:' .. leaving[n]) or 0)
      if excess <= 0 then break end
    end
  end
else
  for i, key in ipairs(KEYS) do
    local at = 2 + (i - 1) * EACH
    local amount, stays = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    if held[i] and ARGV[at + 4] == 'plain' then
      -- Said again: it stays for longer.
      redis.call('ZADD', key .. ':o', number(now_ms + stays), id)
      lives(key, stays + 60000)
    elseif not held[i] then
      redis.call('HSET', key, 'a:' .. id, number(amount))
      redis.call('HINCRBY', key, 'sum', number(amount))
      redis.call('ZADD', key .. ':o', number(now_ms + stays), id)
      used[i] = used[i] + amount
      lives(key, math.max(stays, tonumber(ARGV[2])) + 60000)
    end
  end
end
for i = 1, #KEYS do reply[4 + i] = number(used[i]) end
return reply
