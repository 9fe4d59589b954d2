-- Take a channel over: compare-and-set on the record that the claimant observed.
--
-- KEYS  1 fence record (see call.lua)
-- ARGV  1 claimant (process id)
--       2 reason: own | free | leaving | silent (a record that stayed missing is claimed as silent)
--       3 expected epoch ('' = the record was missing)   4 expected holder   5 expected n
--       6 highest epoch the claimant ever read here
--       7 table revision up to which the claimant may claim
-- Answers
--       CLAIMED   epoch, pause in ms, holes,  the claimant holds the channel; n starts at 0; the pause is the time
--                 stalled since and until,    since the predecessor's last accepted call ('' = not known), the holes
--                 in ms before now            are what it knew to be missing; stalled ('' = no) it was just before its
--                                             end, and may not have said so. All stay in the record until the
--                                             claimant's first call: a claimant that dies before hands them on
--       CONFLICT  record (absent = missing)   not what was observed; nothing written
--       BEHIND    record                      the record's table is newer than ARGV 7; nothing written
--       record = epoch, holder, n, state, revision
local TOLD_MS = 1000  -- a beat (limits.py): a holder that lived so long after a standstill has declared it
local record = redis.call('HMGET', KEYS[1], 'epoch', 'holder', 'n', 'state', 'revision')
local epoch = tonumber(record[1] or '')
if not epoch then
  if ARGV[3] ~= '' then
    return {'CONFLICT'}
  end
  epoch = 0
else
  if epoch ~= tonumber(ARGV[3]) or (record[2] or '') ~= ARGV[4] then
    return {'CONFLICT', unpack(record)}
  end
  if ARGV[2] == 'silent' and (tonumber(record[3] or '') or 0) ~= tonumber(ARGV[5]) then
    return {'CONFLICT', unpack(record)}
  end
  if (ARGV[2] == 'leaving' or ARGV[2] == 'free') and record[4] ~= 'leaving' and record[4] ~= 'free' then
    return {'CONFLICT', unpack(record)}
  end
  if (tonumber(record[5] or '') or 0) > tonumber(ARGV[7]) then
    return {'BEHIND', unpack(record)}
  end
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- '%.0f': a Lua number of this size would otherwise be written with an exponent.
local taken = string.format('%.0f', math.max(epoch + 1, tonumber(ARGV[6]) + 1, now_ms))
redis.call('HSET', KEYS[1], 'epoch', taken, 'holder', ARGV[1], 'n', '0', 'state', 'active',
  'revision', record[5] or '0', 'run', '1')
local pause = ''
local spoke = redis.call('HMGET', KEYS[1], 'at', 'stalled_from', 'stalled_to')
local at = tonumber(spoke[1] or '')
local since, till = '', ''
if at then
  if spoke[3] and at - tonumber(spoke[3]) <= TOLD_MS then
    since = string.format('%.0f', math.max(now_ms - tonumber(spoke[2]), 0))
    till = string.format('%.0f', math.max(now_ms - tonumber(spoke[3]), 0))
  end
  pause = string.format('%.0f', math.max(now_ms - at, 0))
end
return {'CLAIMED', taken, pause, redis.call('HGET', KEYS[1], 'holes') or '', since, till}
