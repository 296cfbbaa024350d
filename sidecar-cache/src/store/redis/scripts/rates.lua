-- Buckets of rate limits: crate::rate_limit::Buckets, run where several sidecars count together, by the server's clock.
-- A number of Lua is a double: whoever calls sees to it that a bucket has at most 3.6e15 units in it, and takes no more
-- at once, so that every sum is a whole number below 2^53, and exact. A product beyond that is only ever subtracted from
-- less than it, down to nothing.
-- KEYS: buckets (hashes) of one organization, each another one.
-- ARGV: 'take' or 'correct', and a moment for tests in ms (or ''). Then for 'take', of each bucket, how many units a ms
-- give back and how many are to be taken; for 'correct' when they were taken, and of each bucket the same two, and how many
-- units more it is than that, and how many less.
-- Returns: 1 and the moment, or 0, the moment, and what is used of each bucket.
local operation, now = ARGV[1], tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- Units that a limit of one a minute has in it, and how many minutes' worth may be missing in a bucket.
local UNITS, DEBT_MINUTES_MAX = 60000, 60
-- How long a bucket is kept that is full again: it is as good as none.
local GRACE = 60000

-- What is used of a bucket at this moment, if it is kept: a clock that went back gives nothing back, and counts on from
-- where it is. To wait until it is there again would let nobody in for as long.
local function load(key)
  local kept = redis.call('HMGET', key, 'used', 'at', 'rate')
  local used, at, rate = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
  if not (used and at and rate) then return nil end
  if at > now then
    redis.call('HSET', key, 'at', string.format('%.0f', now))
    at = now
  end
  return math.max(0, used - (now - at) * rate), rate
end

local function save(key, used, rate)
  if used == 0 then
    redis.call('DEL', key)
    return
  end
  used = math.min(used, UNITS * rate * DEBT_MINUTES_MAX)
  redis.call('HSET', key, 'used', string.format('%.0f', used), 'at', string.format('%.0f', now),
    'rate', string.format('%.0f', rate))
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(used / rate) + GRACE))
end

if operation == 'take' then
  local used, fits = {}, true
  for nth, key in ipairs(KEYS) do
    local rate, units = tonumber(ARGV[2 * nth + 1]), tonumber(ARGV[2 * nth + 2])
    local whole = UNITS * rate
    -- Under a narrower limit than before no more is missing either.
    used[nth] = math.min(load(key) or 0, whole * DEBT_MINUTES_MAX)
    -- What is more than the whole bucket fits when it is full.
    if math.min(units, whole) > math.max(0, whole - used[nth]) then fits = false end
  end
  if not fits then return {0, now, unpack(used)} end
  for nth, key in ipairs(KEYS) do
    save(key, used[nth] + tonumber(ARGV[2 * nth + 2]), tonumber(ARGV[2 * nth + 1]))
  end
  return {1, now}
end

local taken = tonumber(ARGV[3])
for nth, key in ipairs(KEYS) do
  local rate_then, was = tonumber(ARGV[4 * nth]), tonumber(ARGV[4 * nth + 1])
  local more, less = tonumber(ARGV[4 * nth + 2]), tonumber(ARGV[4 * nth + 3])
  local used, rate = load(key)
  if not used then used, rate = 0, rate_then end
  -- No more is given back than cannot have come back by itself.
  local back = math.max(0, now - taken) * math.max(rate_then, rate)
  local too_much = math.min(less, math.max(0, was - back))
  save(key, math.max(0, used + more - too_much), rate)
end
return {1, now}
