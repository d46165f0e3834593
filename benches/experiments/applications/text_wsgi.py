"""The same answer without a framework, for servers whose own cost is in question."""
import os
import time

SLEEP = float(os.environ.get("SLEEP", "0"))


def app(environ, start_response):
    if SLEEP > 0:
        time.sleep(SLEEP)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "12")])
    return [b"hello world!"]
