# What a Rack server runs: twelve bytes, at once or after SLEEP seconds.
wait = ENV.fetch("SLEEP", "0").to_f

run lambda { |_|
  sleep(wait) if wait > 0
  [200, { "content-type" => "text/plain; charset=utf-8" }, ["hello world!"]]
}
