"""Flask: the second seed's program. Changed: port and THREADED come from outside, and werkzeug's log line a request is off."""
import logging
import os
import sys
from random import randint
from time import sleep
from threading import Semaphore

from flask import Flask
from flask import jsonify


class ImageUploader:
    """A singletone class of image uploader."""
    def __init__(self, maxconn: int = 5):
        self.lock = Semaphore(maxconn)

    def upload(self):
        with self.lock:
            sleep(randint(100, 200) / 1000)
            print("Image has been uploaded.")


app = Flask(__name__)

image_uploader = ImageUploader()


# I/O-bound endpoint.
@app.route("/upload", methods=["POST"])
def upload():
    image_uploader.upload()
    return jsonify({"success": True})


# CPU-bound endpoint.
@app.route("/calc", methods=["GET"])
def calc():
    result = sum([i ** 2 for i in range(1000000)])
    return jsonify({"result": result})


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(port=int(sys.argv[1]), threaded=os.environ.get("THREADED") == "1")
