-- The log of one flight. Who begins it holds the lease; who goes on is who began, on the same server.
-- KEYS: what is known of it (hash), its pieces (list), the channel of its place, the lease.
-- ARGV: operation, words that wake, how long it is kept in ms, and what the operation needs.
-- Returns: a word, or what is read.
local operation, wake, kept = ARGV[1], ARGV[2], ARGV[3]
local epoch = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 16)

local function written()
  redis.call('PEXPIRE', KEYS[1], kept)
  redis.call('PEXPIRE', KEYS[2], kept)
  -- A hint: where its user may not publish, whoever reads looks by itself.
  redis.pcall('SPUBLISH', KEYS[3], wake)
end
-- The pieces are evicted apart from what is known of them: then what is left is not the log.
local function is_whole(pieces)
  return not pieces or tonumber(pieces) == redis.call('LLEN', KEYS[2])
end
local function is_writer(of_epoch, token)
  local known = redis.call('HMGET', KEYS[1], 'epoch', 'token')
  return of_epoch == epoch and known[1] == epoch and known[2] == token
end

if operation == 'begin' then
  local lease = redis.call('HMGET', KEYS[4], 'kind', 'epoch', 'token')
  local is_held = lease[1] == 'leased' and lease[2] == epoch and ARGV[4] == epoch and lease[3] == ARGV[5]
  if not is_held then return 'superseded' end
  if not is_writer(ARGV[4], ARGV[5]) then
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'token', ARGV[5], 'head', ARGV[6], 'bytes', #ARGV[6],
      'pieces', 0)
  end
  written()
  return 'current'

elseif operation == 'append' then
  local first, bytes_max = tonumber(ARGV[6]), tonumber(ARGV[7])
  if not is_writer(ARGV[4], ARGV[5]) then return 'superseded' end
  if not is_whole(redis.call('HGET', KEYS[1], 'pieces')) then return 'superseded' end
  -- Of these pieces, so many are there: whoever missed an answer repeats them with what has come since.
  local known = redis.call('LLEN', KEYS[2]) - first
  if known < 0 then return 'superseded' end
  if known >= #ARGV - 7 then return 'done' end
  if redis.call('HEXISTS', KEYS[1], 'end') == 1 then return 'superseded' end
  local bytes = 0
  for at = 8 + known, #ARGV do bytes = bytes + #ARGV[at] end
  if redis.call('HGET', KEYS[1], 'bytes') + bytes > bytes_max then return 'full' end
  redis.call('HINCRBY', KEYS[1], 'bytes', bytes)
  redis.call('HINCRBY', KEYS[1], 'pieces', #ARGV - 7 - known)
  for at = 8 + known, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[at]) end
  written()
  return 'done'

elseif operation == 'finish' then
  if not is_writer(ARGV[4], ARGV[5]) then return 'superseded' end
  redis.call('HSETNX', KEYS[1], 'end', ARGV[6])
  written()
  return 'current'

elseif operation == 'read' then
  local attempt, next_piece, bytes_max = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'head', 'end', 'pieces')
  if known[1] ~= epoch or not is_whole(known[5]) then return false end
  local is_anew = known[2] ~= attempt
  if is_anew then next_piece = 0 end
  local pieces, bytes, is_enough = {}, 0, false
  while not is_enough do
    local some = redis.call('LRANGE', KEYS[2], next_piece, next_piece + 31)
    if #some == 0 then break end
    for _, piece in ipairs(some) do
      if bytes >= bytes_max and #pieces > 0 or #pieces >= 10000 then
        is_enough = true
        break
      end
      bytes = bytes + #piece
      pieces[#pieces + 1] = piece
      next_piece = next_piece + 1
    end
  end
  local ending = {}
  if known[4] and next_piece >= redis.call('LLEN', KEYS[2]) then ending = {known[4]} end
  return {known[2], string.format('%.0f', next_piece), is_anew and {known[3]} or {}, ending, pieces}
end

return redis.error_reply('ERR no such operation: ' .. operation)
