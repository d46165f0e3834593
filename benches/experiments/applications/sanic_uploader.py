"""Sanic: the second seed's program. Changed: an application has a name without dots or underscores at its ends, one process, port from
outside."""
import sys
from random import randint
from asyncio import sleep
from asyncio import Semaphore

from sanic import Sanic
from sanic.response import json


class ImageUploader:
    """A singletone class of image uploader."""
    def __init__(self, maxconn: int = 5):
        self.lock = Semaphore(maxconn)

    async def upload(self):
        async with self.lock:
            await sleep(randint(100, 200) / 1000)
            print("Image has been uploaded.")


app = Sanic("uploader")


@app.listener("after_server_start")
async def setup_image_uploader(app, loop):
    app.ctx.image_uploader = ImageUploader()


# I/O-bound endpoint.
@app.route("/upload", methods=["POST"])
async def upload(request):
    await app.ctx.image_uploader.upload()
    return json({"result": True})


# CPU-bound endpoint.
@app.route("/calc", methods=["GET"])
async def calc(request):
    result = sum([i ** 2 for i in range(1000000)])
    return json({"result": result})

if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, access_log=False)
