-- One chat completion, asked for again and again; every answer is checked for its status and its usage.
local threads = {}
wrong = 0
first_wrong = ""

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local body = '{"model":"' .. args[2] ..
    '","messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":64}'
  local headers = { ["authorization"] = "Bearer " .. args[1], ["content-type"] = "application/json" }
  prepared = wrk.format("POST", nil, headers, body)
end

function request()
  return prepared
end

function response(status, headers, body)
  if status ~= 200 or not string.find(body, '"completion_tokens":8', 1, true) then
    if wrong == 0 then first_wrong = status .. " " .. string.sub(body, 1, 300) end
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local all = 0
  for _, thread in ipairs(threads) do
    all = all + thread:get("wrong")
    if thread:get("first_wrong") ~= "" then io.write("WRONG " .. thread:get("first_wrong") .. "\n") end
  end
  local e = summary.errors
  all = all + e.connect + e.read + e.write + e.timeout
  io.write(string.format('RESULT {"calls": %d, "seconds": %.6f, "wrong": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration / 1e6, all, latency:percentile(50), latency:percentile(99)))
end
