"""The third seed's program on Flask, and its hello."""
from flask import Flask

from pyaday.api.packages import packages_bp
from pyaday.api.rand import rand_bp

app = Flask(__name__)
app.register_blueprint(blueprint=packages_bp,
                       url_prefix="/packages")
app.register_blueprint(blueprint=rand_bp, url_prefix="/rand")


@app.route("/")
def hello():
    return {"hello": "world"}


if __name__ == "__main__":
    app.run()
