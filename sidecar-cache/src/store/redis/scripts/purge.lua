-- Removes an entry, if it is there and, where bytes are given, has these behind its label.
-- KEYS: entry. ARGV: how long a label is; the bytes that were seen, if any.
-- Returns: the label of what was removed, or nothing.
local value = redis.call('GET', KEYS[1])
if not value then return false end
if ARGV[2] and value ~= ARGV[2] and string.sub(value, ARGV[1] + 1) ~= ARGV[2] then return false end
redis.call('UNLINK', KEYS[1])
return string.sub(value, 1, ARGV[1])
