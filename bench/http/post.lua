-- wrk's script: POSTs the same request again and again, each time with a new id, and says at the
-- end what came of it, as JSON. As little work as can be: wrk runs beside what it measures.

local NO_ID = "00000000-0000-0000-0000-000000000000"
local before, after

function init()
  math.randomseed(tonumber(os.getenv("SEED")))
  local headers = {["Content-Type"] = "application/json"}
  if os.getenv("KEY") then
    headers["Authorization"] = "Bearer " .. os.getenv("KEY")
  end
  local whole = wrk.format("POST", "/v1/requests", headers, os.getenv("BODY"))
  local first, last = whole:find(NO_ID, 1, true)
  before, after = whole:sub(1, first - 1), whole:sub(last + 1)
end

local random = math.random

function request()
  local id = string.format("%08x-%04x-4%03x-8%03x-%012x",
    random(0, 0xffffffff), random(0, 0xffff), random(0, 0xfff), random(0, 0xfff),
    random(0, 0xffffffffffff))
  return before .. id .. after
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answered": %d, "us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, ' ..
    '"refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
