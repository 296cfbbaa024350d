-- An organization has another entry: note its size and when it expires, forget what has expired, and give up
-- what is beyond the organization's bound, the soonest to expire first.
-- KEYS: expiries (sorted set), sizes (hash; the sum under ''). ARGV: entry, size, lifetime in ms, bound in bytes.
-- Returns: entries, bytes, how many had expired, and those that are given up.
-- Of two that are evicted apart, one alone would bound the organization by what nobody can give up.
if redis.call('EXISTS', KEYS[1]) ~= redis.call('EXISTS', KEYS[2]) then redis.call('DEL', KEYS[1], KEYS[2]) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local until_us = now + ARGV[3] * 1000

local function forget(entry)
  local size = redis.call('HGET', KEYS[2], entry)
  redis.call('ZREM', KEYS[1], entry)
  if size then
    redis.call('HDEL', KEYS[2], entry)
    redis.call('HINCRBY', KEYS[2], '', 0 - size)
  end
end

local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
for _, entry in ipairs(expired) do forget(entry) end
forget(ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', until_us), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[2], '', ARGV[2])

local given_up = {}
while bytes > tonumber(ARGV[4]) and #given_up < 1000 do
  local first = redis.call('ZRANGE', KEYS[1], 0, 1)
  local entry = first[1]
  if entry == ARGV[1] then entry = first[2] end
  if not entry then break end
  forget(entry)
  given_up[#given_up + 1] = entry
  bytes = tonumber(redis.call('HGET', KEYS[2], ''))
end

-- Both go with the last of their entries.
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
local left = math.ceil((last[2] - now) / 1000) + 1000
redis.call('PEXPIRE', KEYS[1], left)
redis.call('PEXPIRE', KEYS[2], left)
return {redis.call('ZCARD', KEYS[1]), bytes, #expired, given_up}
