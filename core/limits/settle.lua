-- Settles what `take.lua` set aside: the estimate makes way for the truth. A second settlement of the same reservation finds
-- nothing to settle and changes nothing.
--
-- KEYS[i]  accounts as in take.lua
-- ARGV[1]  id of the reservation
-- then four for each account: true amount, amount that was set aside, kind as in take.lua, milliseconds that an amount stays
--
-- In a window the truth stays where the estimate stood; what is above the estimate counts from now on. On a based account the
-- truth counts until a base read later holds it; 0 leaves at once. On a plain account the amount leaves.
--
-- Returns how many accounts had something to settle.
local EACH = 4
local id = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now_ms = math.floor(now / 1000)
local found = 0

local function number(value) return string.format('%.0f', value) end

-- The parts of an account leave together: a sum must not outlive its amounts.
local function lives(key, ms)
  local longest = number(math.max(ms, redis.call('PTTL', key)))
  for _, part in ipairs({key, key .. ':o', key .. ':s'}) do redis.call('PEXPIRE', part, longest) end
end

local function put(key, set, score, member, amount)
  redis.call('HSET', key, 'a:' .. member, number(amount))
  redis.call('ZADD', set, number(score), member)
end

for i, key in ipairs(KEYS) do
  local at = 1 + (i - 1) * EACH
  local truth, kind, keeps = tonumber(ARGV[at + 1]), ARGV[at + 3], tonumber(ARGV[at + 4])
  local open = key .. ':o'
  local amount = tonumber(redis.call('HGET', key, 'a:' .. id) or nil)
  local leaves = redis.call('ZSCORE', open, id)
  local change = 0
  if amount and leaves then
    found = found + 1
    redis.call('HDEL', key, 'a:' .. id)
    redis.call('ZREM', open, id)
    change = -amount
    if truth > 0 and kind == 'window' then
      local stays = math.min(truth, amount)
      put(key, open, tonumber(leaves), id .. ':' .. number(now), stays)
      change = change + stays
    elseif truth > 0 and kind == 'based' then
      put(key, key .. ':s', now, id .. ':' .. number(now), truth)
      change = change + truth
    end
  end
  -- Above the estimate: also when the estimate has left the window by now, but once only.
  local above = truth - (amount or tonumber(ARGV[at + 2]))
  if kind == 'window' and above > 0 and redis.call('HEXISTS', key, 'a:' .. id .. ':above') == 0 then
    put(key, open, now_ms + keeps, id .. ':above', above)
    change = change + above
  end
  if change ~= 0 then
    redis.call('HINCRBY', key, 'sum', number(change))
    lives(key, keeps + 60000)
  end
end
return found
