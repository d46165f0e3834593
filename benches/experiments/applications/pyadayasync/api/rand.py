import random

from sanic import Blueprint, response

from pyadayasync.api.packages import python_packages

rand_bp = Blueprint(name="rand_bp")


@rand_bp.route("", methods=["GET"])
async def read_random_package(_):
    return response.json(random.choice(python_packages))
