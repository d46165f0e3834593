-- Every tenth request asks for its connection to be closed.
local count = 0
local kept, last

function init()
   kept = wrk.format()
   wrk.headers["Connection"] = "close"
   last = wrk.format()
end

function request()
   count = count + 1
   if count % 10 == 0 then
      return last
   end
   return kept
end
