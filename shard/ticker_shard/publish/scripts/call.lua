-- Publish, beat, leaving mark and barrier: one call of the process that holds a channel.
--
-- KEYS  1 fence record (hash: epoch, holder, n, state, revision, at = Redis's time of the last call in ms)
--       2 last values  (hash: EXCHANGE:TRADINGSYMBOL -> row)
--       3 gaps         (stream, capped)
--       4 numbers      (hash: account -> process, epoch and number of its last message)
--       All in one slot: they share the channel's hash tag.
-- ARGV  1 epoch   2 holder   3 n (call number)   4 state (active|leaving|free)   5 applied table revision
--       6 channel   7 message ('' = publish nothing)
--       8 number of rows   9 number of fields to delete   10 number of gap records   11 entries the stream keeps
--       12 account   13 what `numbers` says of this message
--       then rows x (field, row), then fields to delete, then gap records
-- Answers
--       OK       previous n                  everything written, message published, n and state stored
--       STALE    record                      a later call of this process was here already; nothing written
--       FENCED   record                      another process, or a later term of this one; nothing written
--       REWOUND  record (absent = missing)   Redis lost this term; nothing written: publishing never raises a record
--       record = epoch, holder, n, state, revision
local record = redis.call('HMGET', KEYS[1], 'epoch', 'holder', 'n', 'state', 'revision')
local epoch = tonumber(record[1] or '')
if not epoch then
  return {'REWOUND'}
end
local mine = tonumber(ARGV[1])
if epoch < mine then
  return {'REWOUND', unpack(record)}
end
if epoch > mine or record[2] ~= ARGV[2] then
  return {'FENCED', unpack(record)}
end
local previous = tonumber(record[3] or '') or 0
if tonumber(ARGV[3]) <= previous then
  return {'STALE', unpack(record)}
end

local next_arg = 14
local rows, deletes, gaps = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
if rows > 0 then
  redis.call('HSET', KEYS[2], unpack(ARGV, next_arg, next_arg + 2 * rows - 1))
  next_arg = next_arg + 2 * rows
end
if deletes > 0 then
  redis.call('HDEL', KEYS[2], unpack(ARGV, next_arg, next_arg + deletes - 1))
  next_arg = next_arg + deletes
end
for gap = next_arg, next_arg + gaps - 1 do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[11], '*', 'gap', ARGV[gap])
end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[12], ARGV[13])
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
local time = redis.call('TIME')
-- '%.0f': a Lua number of this size would otherwise be written with an exponent.
local at = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
redis.call('HSET', KEYS[1], 'n', ARGV[3], 'state', ARGV[4], 'revision', ARGV[5], 'at', at)
return {'OK', string.format('%.0f', previous)}
