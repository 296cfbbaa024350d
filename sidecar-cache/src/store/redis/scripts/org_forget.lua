-- Entries of an organization are gone.
-- KEYS: expiries, sizes. ARGV: entries. Returns: entries, bytes.
-- Of two that are evicted apart, one alone would bound the organization by what nobody can give up.
if redis.call('EXISTS', KEYS[1]) ~= redis.call('EXISTS', KEYS[2]) then redis.call('DEL', KEYS[1], KEYS[2]) end
for at = 1, #ARGV do
  local size = redis.call('HGET', KEYS[2], ARGV[at])
  redis.call('ZREM', KEYS[1], ARGV[at])
  if size then
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('HINCRBY', KEYS[2], '', 0 - size)
  end
end
return {redis.call('ZCARD', KEYS[1]), tonumber(redis.call('HGET', KEYS[2], '') or 0)}
