-- The leases of one key: crate::flight::Flights, with the server's clock and identity. What was written under
-- another identity (a replica was promoted, the server was started anew) is as if it were not there.
-- KEYS: lease (hash), the counter of its place, for `fill` the entry, and the channel of its place.
-- ARGV: operation, a moment for tests (or ''), the lifetime of a lease in us, and what the operation needs.
-- Returns: a word, the epoch, and two numbers. In front of this stand HIT_FOR_MISS and RETRY_AFTER_MAX, in us.
local operation, ttl = ARGV[1], tonumber(ARGV[3])
local now
if ARGV[2] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
else
  now = tonumber(ARGV[2])
end
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epoch = string.sub(replid, 1, 16)

-- So many of those who followed last are known by their claims: whoever has missed an answer asks again soon.
local FOLLOWERS_KNOWN = 8
-- How long a lease that has run out still tells its leader from another's.
local GRACE = 600 * 1000000
local NUMBERS = {'token', 'until', 'id', 'takeovers', 'overflows', 'followers', 'mute'}

local function load()
  local flat = redis.call('HGETALL', KEYS[1])
  local state = {}
  for at = 1, #flat, 2 do state[flat[at]] = flat[at + 1] end
  if state.epoch ~= epoch then return nil end
  for _, name in ipairs(NUMBERS) do state[name] = tonumber(state[name] or 0) end
  return state
end

local function save(state)
  local flat = {}
  for name, value in pairs(state) do
    flat[#flat + 1] = name
    flat[#flat + 1] = type(value) == 'number' and string.format('%.0f', value) or value
  end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(flat))
  local kept = state['until'] - now + (state.kind == 'hit_for_miss' and 0 or ttl + GRACE)
  redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil(kept / 1000)))
end

local state = load()
-- Nothing is waited for longer than it ever may be: the clock went back.
if state then
  local longest = ({leased = ttl, hit_for_miss = HIT_FOR_MISS, backing_off = RETRY_AFTER_MAX})[state.kind]
  if state['until'] > now + longest then
    state['until'] = now + longest
    save(state)
  end
end

local function is_live()
  if not state then return false end
  -- Whoever should take over has a lease's time for it.
  return now < state['until'] + (state.kind == 'backing_off' and ttl or 0)
end
local function is_held(token_epoch, token)
  return state and state.kind == 'leased' and token_epoch == epoch and state.token == tonumber(token)
end
local function is_flight(id)
  return state and state.kind ~= 'hit_for_miss' and state.id == tonumber(id)
end
local function answer(word, first, second) return {word, epoch, first or 0, second or 0} end

-- Larger than any before it, even if the counter was evicted: then the clock is.
local function next_token()
  local token = math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, now)
  redis.call('SET', KEYS[2], string.format('%.0f', token))
  return token
end
local function lease(flight, claim)
  local token = next_token()
  save({kind = 'leased', epoch = epoch, token = token, claim = claim, ['until'] = now + ttl,
    id = flight.id or token, takeovers = flight.takeovers, overflows = flight.overflows,
    followers = flight.followers, follower = flight.follower})
  return answer('lead', token, flight.id or token)
end
local function renew()
  state['until'] = now + ttl
  save(state)
end
-- The same claim again: its first answer was lost.
local function is_claimed(claim)
  return is_live() and state.kind == 'leased' and state.claim == claim
end
local function remove(word)
  redis.call('DEL', KEYS[1])
  return answer(word)
end

if operation == 'acquire' or operation == 'acquire_alone' then
  local claim, followers_max = ARGV[4], tonumber(ARGV[5])
  if not is_live() then return lease({takeovers = 0, overflows = 0, followers = 0}, claim) end
  if is_claimed(claim) then
    renew()
    return answer('lead', state.token, state.id)
  end
  if operation == 'acquire_alone' then return answer('none') end
  if state.kind == 'hit_for_miss' then return answer('hit_for_miss') end
  -- Whoever asks again under the same claim has one place, not two: also where others have come in between.
  local others = {}
  for other in string.gmatch(state.follower or '', '%x+') do
    if other ~= claim and #others < FOLLOWERS_KNOWN - 1 then others[#others + 1] = other end
  end
  local is_again = string.find(state.follower or '', claim, 1, true) ~= nil
  if is_again then
    state.followers, state.follower = math.max(0, state.followers - 1), table.concat(others, ' ')
  end
  if state.kind == 'leased' and state.mute == 1 then
    if is_again then save(state) end
    return answer('mute')
  end
  if state.followers >= followers_max then return answer('full') end
  state.followers = state.followers + 1
  state.follower = claim .. ' ' .. table.concat(others, ' ')
  save(state)
  -- Whoever leads has told nobody so far: in the words that wake those who watch the flight's log. A hint: where its
  -- user may not publish, whoever leads looks by itself.
  if state.followers == 1 then
    redis.pcall('SPUBLISH', KEYS[4], ARGV[6] .. ':' .. string.format('%.0f', state.id))
  end
  return answer('follow', state.id)

elseif operation == 'take_over' then
  local id, claim = ARGV[4], ARGV[5]
  if is_claimed(claim) and is_flight(id) then
    renew()
    return answer('lead', state.token, state.id)
  end
  if is_live() and state.kind == 'backing_off' and is_flight(id) and now >= state['until'] then
    return lease(state, claim)
  end
  -- Who led it has died, which counts as a failure.
  if state and state.kind == 'leased' and not is_live() and is_flight(id)
    and state.takeovers < tonumber(ARGV[6]) then
    state.takeovers = state.takeovers + 1
    return lease(state, claim)
  end
  return answer('none')

elseif operation == 'leave' then
  if is_flight(ARGV[4]) and state.followers > 0 then
    state.followers = state.followers - 1
    save(state)
  end
  return answer('done')

elseif operation == 'renew' then
  if not (is_held(ARGV[4], ARGV[5]) and is_live()) then return answer('superseded') end
  renew()
  return answer('current', state.followers)

elseif operation == 'mute' then
  if not is_held(ARGV[4], ARGV[5]) then return answer('superseded') end
  state.mute = 1
  save(state)
  return answer('current')

elseif operation == 'holds' then
  return answer(is_held(ARGV[4], ARGV[5]) and 'current' or 'superseded')

elseif operation == 'fill' then
  if not (is_held(ARGV[4], ARGV[5]) and is_live()) then return answer('superseded') end
  if ARGV[6] == '' then
    redis.call('UNLINK', KEYS[3])
  else
    redis.call('SET', KEYS[3], ARGV[6], 'PX', ARGV[7])
  end
  return remove('current')

elseif operation == 'abandon' then
  if not is_held(ARGV[4], ARGV[5]) then return answer('superseded') end
  return remove('current')

elseif operation == 'end_uncacheable' then
  if not is_held(ARGV[4], ARGV[5]) then return answer('superseded') end
  save({kind = 'hit_for_miss', epoch = epoch, ['until'] = now + ARGV[7], under = ARGV[6]})
  return answer('current')

elseif operation == 'fail' then
  local waiting, is_hopeless, pause = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])
  local is_unpaid, backoff, takeovers_max = ARGV[9] == '1', tonumber(ARGV[10]), tonumber(ARGV[11])
  local is_again = state and state.kind == 'backing_off' and ARGV[4] == epoch
    and state.token == tonumber(ARGV[5])
  if is_again then return answer('take_over', math.max(0, state['until'] - now)) end
  if not is_held(ARGV[4], ARGV[5]) then
    -- Whoever says it again, and finds nothing where it led, was the one who ended it.
    local was_over = ARGV[12] == '1' and ARGV[4] == epoch and not state
    return answer((is_hopeless or was_over) and 'over' or 'voided')
  end
  if is_unpaid then
    backoff = 0
  else
    backoff = backoff * 2 ^ state.takeovers
    state.takeovers = state.takeovers + 1
  end
  if waiting == 0 or is_hopeless or state.takeovers > takeovers_max then return remove('over') end
  state.kind, state['until'] = 'backing_off', now + math.max(backoff, pause)
  save(state)
  return answer('take_over', state['until'] - now)

elseif operation == 'give_up' then
  if not (is_flight(ARGV[4]) and state.kind == 'backing_off') then return answer('none') end
  return remove('done')

elseif operation == 'overflow' then
  if is_flight(ARGV[4]) and (ARGV[5] == '' or state.overflows < tonumber(ARGV[5])) then
    state.overflows = state.overflows + 1
    save(state)
    return answer('go')
  end
  return answer('wait_on')

elseif operation == 'void' then
  -- Another flight of the key is not the one that was read.
  if not is_flight(ARGV[4]) then return answer('none') end
  return remove('done')

elseif operation == 'renewed' then
  -- Generations as text of one length: they need not fit into a double.
  if state and state.kind == 'hit_for_miss' and state.under < ARGV[4] then remove('done') end
  return answer('done')
end

return redis.error_reply('ERR no such operation: ' .. operation)
