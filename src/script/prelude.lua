-- What every hook file finds. Runs once per VM, before the sandbox closes, with `native` from Rust.
-- Errors are raised at level 2, so that they carry the line of the script that called.
local native, limits = ...
local error, type, tostring, select, setmetatable = error, type, tostring, select, setmetatable
local floor, huge = math.floor, math.huge
local concat = table.concat

local ctx, record, reply, json = {}, {}, {}, {}

-- Names ---------------------------------------------------------------------------------------

-- A table from name to slot that stops growing: what comes after the limit shares one slot.
local function bounded(make)
  local slots, count = {}, 0
  return slots, function(name, what)
    if type(name) ~= "string" or name == "" then
      error(what .. ": the name must be a text that is not empty, got " .. type(name), 3)
    end
    if #name > limits.name_bytes then
      error(what .. ": the name is longer than " .. limits.name_bytes .. " bytes", 3)
    end
    if count >= limits.names then
      name = limits.more_names
      if slots[name] then
        return slots[name]
      end
    end
    local slot = make()
    slots[name] = slot
    count += 1
    return slot
  end
end

local totals = {}
local counter_methods = {}
counter_methods.__index = counter_methods
counter_methods.__metatable = "counter"
local counters, new_counter = bounded(function()
  local counter = setmetatable({}, counter_methods)
  totals[counter] = 0
  return counter
end)

function counter_methods.add(self, n)
  if type(n) ~= "number" or n ~= n or n == huge or n == -huge then
    error("counter:add needs a finite number, got " .. tostring(n), 2)
  end
  local before = totals[self]
  if before == nil then
    error("counter:add is called with a colon: metrics.counter(\"name\"):add(1)", 2)
  end
  totals[self] = before + n
end

function counter_methods.inc(self)
  local before = totals[self]
  if before == nil then
    error("counter:inc is called with a colon: metrics.counter(\"name\"):inc()", 2)
  end
  totals[self] = before + 1
end

metrics = {
  counter = function(name)
    return counters[name or false] or new_counter(name, "metrics.counter")
  end,
}

local checks, new_check = bounded(function()
  return { 0, 0 }
end)

function check(name, ok)
  local counts = checks[name or false] or new_check(name, "check")
  if ok then
    counts[1] += 1
    return true
  end
  counts[2] += 1
  return false
end

-- Random values -------------------------------------------------------------------------------

local exact = 2 ^ 53

function random(low, high)
  if low == nil then
    return native.fraction()
  end
  if high == nil then
    low, high = 1, low
  end
  if type(low) ~= "number" or type(high) ~= "number" or floor(low) ~= low or floor(high) ~= high then
    error("random(a, b) needs whole numbers, got " .. tostring(low) .. " and " .. tostring(high), 2)
  end
  if low < -exact or high > exact or high - low > exact then
    error("random(a, b) reaches at most 2^53", 2)
  end
  if low > high then
    error("random(a, b): " .. tostring(low) .. " is above " .. tostring(high), 2)
  end
  return native.between(low, high)
end

math.random = random
math.randomseed = nil
uuid = native.uuid

-- JSON ----------------------------------------------------------------------------------------

json.null = native.null

function json.decode(text)
  if type(text) ~= "string" then
    error("json.decode needs a text, got " .. type(text), 2)
  end
  local value, problem = native.decode(text)
  if problem then
    error("json.decode: " .. problem, 2)
  end
  return value
end

function json.encode(value)
  local text, problem = native.encode(value)
  if problem then
    error("json.encode: " .. problem, 2)
  end
  return text
end

function json.array(list)
  if list ~= nil and type(list) ~= "table" then
    error("json.array needs a table, got " .. type(list), 2)
  end
  return setmetatable(list or {}, native.array)
end

_G.json = json

-- Talk ----------------------------------------------------------------------------------------

local lines = 0

function print(...)
  lines += 1
  if lines > limits.print_lines then
    return
  end
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = tostring((select(i, ...)))
  end
  native.print(concat(parts, "\t"), lines == limits.print_lines)
end

-- Library functions that could run for minutes inside C, where no time limit reaches -------------

local find, match, gmatch, gsub, split = string.find, string.match, string.gmatch, string.gsub, string.split
local move, sort = table.move, table.sort

local function fits(text, pattern, product, what)
  if type(text) == "string" and type(pattern) == "string" and #text * #pattern > product then
    error(what .. ": text (" .. #text .. " bytes) and pattern (" .. #pattern .. " bytes) are too long together", 3)
  end
end

function string.find(text, pattern, init, plain)
  fits(text, pattern, plain and limits.plain_product or limits.pattern_product, "string.find")
  return find(text, pattern, init, plain)
end

function string.match(text, pattern, init)
  fits(text, pattern, limits.pattern_product, "string.match")
  return match(text, pattern, init)
end

function string.gmatch(text, pattern)
  fits(text, pattern, limits.pattern_product, "string.gmatch")
  return gmatch(text, pattern)
end

function string.gsub(text, pattern, replacement, count)
  fits(text, pattern, limits.pattern_product, "string.gsub")
  return gsub(text, pattern, replacement, count)
end

function string.split(text, separator)
  fits(text, separator, limits.plain_product, "string.split")
  return split(text, separator)
end

function table.move(from, first, last, to, into)
  if type(first) == "number" and type(last) == "number" and last - first >= limits.move then
    error("table.move: more than " .. limits.move .. " elements", 2)
  end
  return move(from, first, last, to, into)
end

-- The built-in comparison is never interrupted, a Lua function is.
local function less(a, b)
  return a < b
end

function table.sort(list, comparison)
  return sort(list, comparison or less)
end

-- What a payload must not depend on, or what opens a door -----------------------------------------

for _, name in { "collectgarbage", "gcinfo", "getfenv", "setfenv", "newproxy", "loadstring", "load", "dofile",
  "loadfile", "require", "os", "io", "debug", "package" } do
  _G[name] = nil
end

-- How Rust enters ---------------------------------------------------------------------------------

local setup_hook, request_hook, response_hook, done_hook

local enter = {}

function enter.bind(setup, request, response, done)
  setup_hook, request_hook, response_hook, done_hook = setup, request, response, done
end

function enter.context(worker, workers, seed, args)
  ctx.worker, ctx.workers, ctx.seed, ctx.args = worker, workers, seed, args
end

function enter.setup()
  setup_hook(ctx)
end

function enter.request(id, key, value, seq, due)
  record.id, record.key, record.value, record.seq, record.due = id, key, value, seq, due
  return request_hook(ctx, record)
end

function enter.response(id, key, value, seq, due, reply_id, body, service_us, response_us)
  record.id, record.key, record.value, record.seq, record.due = id, key, value, seq, due
  reply.id, reply.body, reply.service_us, reply.response_us = reply_id, body, service_us, response_us
  response_hook(ctx, record, reply)
end

function enter.done(summary)
  done_hook(summary)
end

function enter.tallies()
  local counted = {}
  for name, counter in counters do
    counted[name] = totals[counter]
  end
  return counted, checks, lines
end

return enter
