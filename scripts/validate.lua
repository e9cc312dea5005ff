-- Looks at every response.
--
-- A check that fails does not stop the run: it is counted, shown at the end, and a threshold of the
-- scenario may decide on it.
--
-- In the scenario:
--   script: { file: ../scripts/validate.lua, args: { slow_us: 5000 } }

-- Counters are looked up once, here, and not once per response.
local replies = metrics.counter("replies")
local reply_bytes = metrics.counter("reply bytes")
local slow_replies = metrics.counter("slow replies")

local slow_us

function setup(ctx)
  slow_us = ctx.args.slow_us or 5000
end

-- The record is sent as it is. Without this hook it would be the same.
function request(ctx, record)
  return record.value
end

function response(ctx, record, reply)
  replies:inc()
  reply_bytes:add(#reply.body)

  check("reply has an id", #reply.id > 0)
  -- Visible characters only: no space, no control character.
  check("reply id is printable", reply.id:find("^[%g]+$") ~= nil)

  -- Both times are whole microseconds. `service_us` counts from the send, `response_us` from the
  -- time at which the request was due.
  if not check("reply is quick", reply.service_us <= slow_us) then
    slow_replies:inc()
  end
  check("response time includes service time", reply.response_us >= reply.service_us)
end

-- Once at the end, with the summary of the run.
function done(summary)
  print("validate.lua has seen the end of the run")
end
