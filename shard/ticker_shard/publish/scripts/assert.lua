-- Put a lost record back: only for a process that believes it holds the channel and was told REWOUND.
--
-- KEYS  1 fence record (see call.lua)
-- ARGV  1 epoch   2 holder   3 n   4 state (active|leaving|free)   5 applied table revision
-- Answers
--       ASSERTED           the record was missing or of an earlier term and is now the caller's
--       KEPT      record   it is the caller's already; nothing written
--       FENCED    record   it is somebody else's; nothing written
--       record = epoch, holder, n, state, revision
local record = redis.call('HMGET', KEYS[1], 'epoch', 'holder', 'n', 'state', 'revision')
local epoch = tonumber(record[1] or '')
local mine = tonumber(ARGV[1])
if not epoch or epoch < mine then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'holder', ARGV[2], 'n', ARGV[3], 'state', ARGV[4],
    'revision', ARGV[5], 'run', string.format('%.0f', tonumber(ARGV[3]) + 1))
  return {'ASSERTED'}
end
if epoch == mine and record[2] == ARGV[2] then
  return {'KEPT', unpack(record)}
end
return {'FENCED', unpack(record)}
