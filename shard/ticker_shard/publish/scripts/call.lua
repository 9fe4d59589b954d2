-- Publish, beat, leaving mark and barrier: one call of the process that holds a channel.
--
-- KEYS  1 fence record (hash: epoch, holder, n, state, revision,
--                       run = first number of the unbroken run of accepted calls that ends with n,
--                       at = Redis's time of the last call in ms, holes = what its holder knew to be missing,
--                       stalled_from, stalled_to = the holder's calls before and after its last standstill)
--       2 last values  (hash: EXCHANGE:TRADINGSYMBOL -> row)
--       3 gaps         (stream, capped)
--       4 numbers      (hash: account -> process, epoch and number of its last message)
--       5 owners       (hash: EXCHANGE:TRADINGSYMBOL -> account that took the field of the last values last)
--       6 stream       (stream of messages, capped; written only where that is wanted)
--       All in one slot: they share the channel's hash tag.
-- ARGV  1 epoch   2 holder   3 n (call number)   4 state (active|leaving|free)   5 applied table revision
--       6 channel   7 message ('' = publish nothing)
--       8 number of rows   9 number of fields to delete   10 number of gap records   11 entries the gaps keep
--       12 account   13 what `numbers` says of this message
--       14 holes to remember ('' = as they are)   15 number of fields that the account takes
--       16 messages the stream keeps (0 = there is none)
--       17 where the first row begins in the message (from 1)   18 bytes between two rows
--       19 sizes of the rows, in msgpack: one number for all, or one for each
--       then the rows' fields, then fields to delete, then gap records, then fields to take
-- Answers
--       OK       previous n, its run         everything written, message published, n and state stored
--       STALE    record                      a later call of this process was here already; nothing written
--       FENCED   record                      another process, or a later term of this one; nothing written
--       REWOUND  record (absent = missing)   Redis lost this term; nothing written: publishing never raises a record
--       record = epoch, holder, n, state, revision, run
local STALL_MS = 2000  -- two beats (limits.py)
local record = redis.call('HMGET', KEYS[1], 'epoch', 'holder', 'n', 'state', 'revision', 'run')
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
local n = tonumber(ARGV[3])
if n <= previous then
  return {'STALE', unpack(record)}
end

local next_arg = 20
local rows, deletes, gaps = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
if rows > 0 then
  local at, between, sizes = tonumber(ARGV[17]), tonumber(ARGV[18]), cmsgpack.unpack(ARGV[19])
  local alike = type(sizes) == 'number' and sizes
  local values = {}
  for row = 1, rows do
    local size = alike or sizes[row]
    values[2 * row - 1] = ARGV[next_arg + row - 1]
    values[2 * row] = string.sub(ARGV[7], at, at + size - 1)
    at = at + size + between
  end
  redis.call('HSET', KEYS[2], unpack(values))
  next_arg = next_arg + rows
end
-- A field that another account has taken since is that account's.
for field = next_arg, next_arg + deletes - 1 do
  local owner = redis.call('HGET', KEYS[5], ARGV[field])
  if not owner or owner == ARGV[12] then
    redis.call('HDEL', KEYS[2], ARGV[field])
    redis.call('HDEL', KEYS[5], ARGV[field])
  end
end
next_arg = next_arg + deletes
for gap = next_arg, next_arg + gaps - 1 do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[11], '*', 'gap', ARGV[gap])
end
next_arg = next_arg + gaps
for field = next_arg, next_arg + tonumber(ARGV[15]) - 1 do
  redis.call('HSET', KEYS[5], ARGV[field], ARGV[12])
end
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[12], ARGV[13])
  redis.call('PUBLISH', ARGV[6], ARGV[7])
  if ARGV[16] ~= '0' then
    redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[16], '*', 'message', ARGV[7])
  end
end
local run = tonumber(record[6] or '') or previous + 1
local time = redis.call('TIME')
-- '%.0f': a Lua number of this size would otherwise be written with an exponent.
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local at = string.format('%.0f', now_ms)
local before = redis.call('HGET', KEYS[1], 'at')
if before and previous > 0 and now_ms - tonumber(before) > STALL_MS then
  redis.call('HSET', KEYS[1], 'stalled_from', before, 'stalled_to', at)
end
redis.call('HSET', KEYS[1], 'n', ARGV[3], 'state', ARGV[4], 'revision', ARGV[5], 'at', at,
  'run', string.format('%.0f', n == previous + 1 and run or n))
if ARGV[14] ~= '' then
  redis.call('HSET', KEYS[1], 'holes', ARGV[14])
end
return {'OK', string.format('%.0f', previous), string.format('%.0f', run)}
