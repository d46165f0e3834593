"""The first seed's Sanic handlers: HOW is time (it blocks the loop), mistake (the seed's await time.sleep) or asyncio.

Changed for today's Sanic: an application has a name, one process needs no supervisor, and the access log, which prints between the lines
that are compared, is off.
"""
import asyncio
import os
import sys
import time

from sanic import Sanic
from sanic.response import json

app = Sanic("order")
step = 0
SLEEP = float(os.environ.get("SLEEP", "10"))
HOW = os.environ.get("HOW", "time")


@app.route('/')
async def test(request):
    global step
    print(f'hello {step}')
    step += 1
    if SLEEP > 0:
        if HOW == "asyncio":
            await asyncio.sleep(SLEEP)
        elif HOW == "mistake":
            await time.sleep(SLEEP)
        else:
            time.sleep(SLEEP)
    print('world')
    return json({})

if __name__ == '__main__':
    app.run(host='127.0.0.1', port=int(sys.argv[1]), single_process=True, access_log=False)
