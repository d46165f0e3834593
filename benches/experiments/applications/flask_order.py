"""The first seed's handler. Its sleep of 10 s comes from SLEEP, and its name for gunicorn is that of the seed, application."""
from flask import Flask, jsonify
import os
import time

application = Flask(__name__)
step = 0
SLEEP = float(os.environ.get("SLEEP", "10"))


@application.route('/', methods=['GET'])
def hello():
    global step
    print(f'hello {step}')
    step += 1
    if SLEEP > 0:
        time.sleep(SLEEP)
    print('world')
    return jsonify({})
