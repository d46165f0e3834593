import random

from flask import Blueprint, jsonify

from pyaday.api.packages import python_packages

rand_bp = Blueprint(name="rand_bp",
                    import_name=__name__)


@rand_bp.route("", methods=["GET"])
def read_random_package():
    return jsonify(random.choice(python_packages))
