-- Edits every record before it is sent.
--
-- The record's value is JSON, as the record generator wrote it:
--   {"id":1,"name":"User1","phone":"900000000001","status":"pending"}
-- Two fields are added, and the keys come out sorted, so that the bytes are the same in every run:
--   {"amount":4711,"id":1,"name":"User1","phone":"900000000001","status":"pending","tx":"TX-0"}
--
-- In the scenario:
--   script: { file: ../scripts/enrich.lua, args: { prefix: TX } }

local prefix

-- Once per worker, before the first request. `ctx.args` is what the scenario hands over.
function setup(ctx)
  prefix = ctx.args.prefix or "TX"
end

-- Once per request, ahead of its due time: however long this takes, the send is not moved.
-- Whatever is returned is sent; `return nil` would drop the request, which is counted.
function request(ctx, record)
  local body = json.decode(record.value)
  -- `seq` is the number of the request, from 0: unique even when the records are used again.
  body.tx = prefix .. "-" .. record.seq
  -- Not any random number: request n draws the same one in every run with the same seed.
  body.amount = random(100, 10000)
  return json.encode(body)
end
