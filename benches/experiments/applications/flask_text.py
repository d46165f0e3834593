"""The fourth seed's program: a constant answer, or one after SLEEP seconds (the seed has 1)."""
import os
import time

from flask import Flask

app = Flask(__name__)
SLEEP = float(os.environ.get("SLEEP", "0"))


@app.route("/")
def hello():
    if SLEEP > 0:
        time.sleep(SLEEP)
    return "hello world!"


if __name__ == "__main__":
    import logging
    import sys
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(port=int(sys.argv[1]))
