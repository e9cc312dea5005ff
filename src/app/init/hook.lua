-- What NAME.yaml does with each request and each response. All that is at hand: docs/lua.md.

local prefix
local empty = metrics.counter("empty")

-- Once per worker, before the first request. `ctx.args` is what the scenario hands over.
function setup(ctx)
  prefix = ctx.args.prefix or "TX"
end

-- Once per request, ahead of its due time, so that the send is not moved. What is returned is sent;
-- `return nil` would drop the request, which is counted.
function request(ctx, record)
  local body = json.decode(record.value)
  body.tx = prefix .. "-" .. record.seq       -- record.seq: the number of the request, from 0
  body.amount = random(100, 10000)            -- request n draws the same number in every run with this seed
  return json.encode(body)
end

-- Once per response. Checks and counters are in the report, and thresholds can ask for them:
--   - check.answered rate > 99%
function response(ctx, record, reply)
  check("answered", #reply.id > 0)
  if #reply.body == 0 then
    empty:inc()
  end
end
