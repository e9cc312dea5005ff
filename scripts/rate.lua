-- A rate curve of one's own: a sawtooth that climbs from `low` to `peak` in every period and falls back
-- at once.
--
--   200 |    /|    /|    /|    /|
--       |   / |   / |   / |   / |
--    50 |  /  |  /  |  /  |  /  |
--       +-------------------------- t
--
-- In the scenario, as a stage:
--   - { lua: tps_at, duration: 10s }
--
-- `t` is the second within the stage (a fraction, from 0); what is returned is a rate in requests per
-- second. The runner asks for it every 10 ms of the stage while it makes the plan, draws straight lines
-- between the answers, and knows the exact number of requests before the first is sent. The function must
-- therefore follow from `t` alone.

local low, peak, period = 50, 200, 2.5

function tps_at(t)
  return low + (peak - low) * (t % period) / period
end
