-- One exchange of one worker process, for all deployments that workers share: it says what it holds and what it has used, and
-- learns what it may use. Nothing here decides; it keeps the books, so that all parts together never exceed a limit.
--
-- KEYS      coatcheck:{routing}:<deployment>, one hash per deployment, with the fields
--             p:<process>   "until|slots|requests|tokens|note": what the process holds, until when (ms), and its note to the others
--             u:<second>    "requests tokens" that were used in that second (Unix time)
--             limit         calls at once, as adapted; absent: the ceiling
--             born          when this hash was made (ms); until a lease later nobody gets more than an even part, because the
--                           holders of before a restart of Redis have not reported yet
--             rest          until when (ms) the upstream wants no calls
--             verdict       "number|state|until|reason": the last change of any process's breaker
-- ARGV[1]   id of the process
-- ARGV[2]   lease in ms: a process that is silent for so long loses what it held
-- ARGV[3]   how many workers live, as far as the process knows
-- ARGV[4]   JSON, one entry per key:
--             hold   {slots, requests, tokens} that the process keeps until the answer; it may have given some back
--             want   {slots, requests, tokens} that it would like to hold
--             caps   {slots, requests a minute or null, tokens a minute or null}
--             used   {requests, tokens} since its last exchange; tokens may be negative when an estimate was too high
--             note   text for the others
--             born   which hash its last answer was from, if there was one
--             limit, rest (ms from now), verdict ({state, ms, reason}): where it has news of them
--
-- Returns JSON, one entry per key: held {slots, requests, tokens}, left {requests, tokens} of this minute that nobody has used,
-- limit, rest (ms from now, or 0), verdict {number, state, ms, reason}, peers {process: note} with the process itself, born, settled.
local me, lease, workers = ARGV[1], tonumber(ARGV[2]), math.max(1, tonumber(ARGV[3]))
local asks = cjson.decode(ARGV[4])
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000 + math.floor(tonumber(time[2]) / 1000)
-- A used minute ends a second late: the bucket of a second holds uses from all of it.
local WINDOW = 61
local FORGET_MS = 180000

local function given(value)
  return value ~= nil and value ~= cjson.null
end

local function add_use(key, uses, requests, tokens)
  if requests == 0 and tokens == 0 then return end
  uses[second] = uses[second] or {0, 0}
  uses[second][1] = uses[second][1] + requests
  uses[second][2] = uses[second][2] + tokens
  redis.call('HSET', key, 'u:' .. second, uses[second][1] .. ' ' .. uses[second][2])
end

local function read(key)
  local state = {peers = {}, holds = {0, 0, 0}, uses = {}, fields = {}}
  local flat = redis.call('HGETALL', key)
  local lapsed = {0, 0}
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    local kind, name = field:match('^(%l):(.+)$')
    if kind == 'p' then
      local till, slots, requests, tokens, note = value:match('^(%d+)|([^|]+)|([^|]+)|([^|]+)|(.*)$')
      if tonumber(till) <= now then
        redis.call('HDEL', key, field)
        -- It may have used what it held of a minute and never told.
        if name ~= me then lapsed = {lapsed[1] + math.max(0, tonumber(requests)), lapsed[2] + math.max(0, tonumber(tokens))} end
      elseif name ~= me then
        state.peers[name] = note
        state.holds[1] = state.holds[1] + tonumber(slots)
        state.holds[2] = state.holds[2] + math.max(0, tonumber(requests))
        state.holds[3] = state.holds[3] + math.max(0, tonumber(tokens))
      end
    elseif kind == 'u' then
      if tonumber(name) <= second - WINDOW then
        redis.call('HDEL', key, field)
      else
        local requests, tokens = value:match('^(%S+) (%S+)$')
        state.uses[tonumber(name)] = {tonumber(requests), tonumber(tokens)}
      end
    else
      state.fields[field] = value
    end
  end
  add_use(key, state.uses, lapsed[1], lapsed[2])
  return state
end

local function keep_rest(key, fields, rest)
  local till = tonumber(fields.rest or '0')
  if given(rest) and now + rest > till then
    till = now + math.floor(rest)
    redis.call('HSET', key, 'rest', till)
  end
  return math.max(0, till - now)
end

local function keep_verdict(key, fields, news)
  local number, state, till, reason = (fields.verdict or '0|closed|0|'):match('^(%d+)|([^|]*)|(%d+)|(.*)$')
  if given(news) then
    number, state, till, reason = number + 1, news.state, now + math.floor(news.ms), news.reason
    redis.call('HSET', key, 'verdict', string.format('%d|%s|%d|%s', number, state, till, reason))
  end
  return {number = tonumber(number), state = state, ms = math.max(0, tonumber(till) - now), reason = reason}
end

local function exchange(key, ask)
  local state = read(key)
  local fields = state.fields
  local born = tonumber(fields.born or '0')
  if born == 0 then
    born = now
    redis.call('HSET', key, 'born', now)
  end
  add_use(key, state.uses, ask.used[1], ask.used[2])
  local requests, tokens = 0, 0
  for _, use in pairs(state.uses) do
    requests, tokens = requests + use[1], tokens + use[2]
  end
  local limit = tonumber(fields.limit or ask.caps[1])
  if given(ask.limit) then
    limit = ask.limit
    redis.call('HSET', key, 'limit', limit)
  end
  limit = math.min(limit, ask.caps[1])
  local left = {
    given(ask.caps[2]) and ask.caps[2] - requests or -1,
    given(ask.caps[3]) and ask.caps[3] - tokens or -1,
  }
  local whole = {math.floor(limit), left[1], left[2]}
  local held = {}
  for at = 1, 3 do
    local hold, want = ask.hold[at], ask.want[at]
    if now - born < lease then
      local even = math.floor(math.max(0, whole[at]) / workers)
      -- Whoever remembers an older hash knows that others hold parts too, which are not in the books yet.
      want = given(ask.born) and ask.born ~= born and hold or math.min(want, even)
    end
    local free = whole[at] - state.holds[at] - math.max(0, hold)
    held[at] = hold + math.max(0, math.min(want - hold, free))
  end
  redis.call('HSET', key, 'p:' .. me, string.format('%d|%s|%s|%s|%s', now + lease, held[1], held[2], held[3], ask.note))
  redis.call('PEXPIRE', key, FORGET_MS)
  state.peers[me] = ask.note
  return {
    born = born, settled = now - born >= lease, held = held, left = left, limit = limit, peers = state.peers,
    rest = keep_rest(key, fields, ask.rest), verdict = keep_verdict(key, fields, ask.verdict),
  }
end

local answers = {}
for i, key in ipairs(KEYS) do answers[i] = exchange(key, asks[i]) end
return cjson.encode(answers)
