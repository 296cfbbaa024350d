-- wrk's script: a 2 KB chat request, the same each time, or with a number that makes each one new, or some in turn.
local key, mode, body = os.getenv("KT_KEY"), os.getenv("KT_MODE"), os.getenv("KT_BODY")
local count, seed = 0, tostring(os.time()) .. tostring(os.clock())
local questions, asked = tonumber(os.getenv("KT_QUESTIONS") or "1"), {}

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. key

function request()
  if mode == "unique" then
    count = count + 1
    return wrk.format(nil, nil, nil, (body:gsub("SEED", seed .. "-" .. count)))
  end
  if mode == "rotate" then
    count = count % questions + 1
    asked[count] = asked[count] or wrk.format(nil, nil, nil, (body:gsub("SEED", "q-" .. count)))
    return asked[count]
  end
  return wrk.format(nil, nil, nil, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  local bad = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('KT {"requests": %d, "rps": %.1f, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
    summary.requests, summary.requests / (summary.duration / 1e6), latency:percentile(50),
    latency:percentile(99), bad))
end
