"""The third seed's program on Sanic, and its hello. Changed: an application has a name; port and processes come from outside."""
import sys

from sanic import Sanic
from sanic.response import json

from pyadayasync.api.packages import packages_bp
from pyadayasync.api.rand import rand_bp

app = Sanic("pyaday")
app.blueprint(blueprint=packages_bp, url_prefix="/packages")
app.blueprint(blueprint=rand_bp, url_prefix="/rand")


@app.route("/")
async def hello(_):
    return json({"hello": "world"})

if __name__ == "__main__":
    workers = int(sys.argv[2])
    app.run(host="127.0.0.1", port=int(sys.argv[1]), access_log=False,
            **({"single_process": True} if workers == 1 else {"workers": workers}))
