"""The third seed's packages. Changed: two answers of the seed give a dict as the content of a Response, which Flask refuses."""
import json

from flask import Blueprint, Response, jsonify, request

packages_bp = Blueprint(name="packages_bp", import_name=__name__)

python_packages = [
    {
        "name": "flask",
        "short_desc": "A simple framework for building complex web applications.",
    },
    {
        "name": "sanic",
        "short_desc": "A web server and web framework that's written to go fast. Build fast. Run fast.",
    },
    {
        "name": "poetry",
        "short_desc": "Python dependency management and packaging made easy.",
    },
]


def not_found():
    return Response(
        response=json.dumps({"title": "Could not find a package"}),
        status=404,
        content_type="application/problem+json",
    )


@packages_bp.route("", methods=["POST"])
def create_package():
    req_data = request.json
    python_packages.append(
        {"name": req_data.get("name"), "short_desc": req_data.get("short_desc")}
    )
    return Response(
        response=None,
        status=201,
        headers={"Location": f"/packages/{req_data.get('name')}"},
    )


@packages_bp.route("/<package_name>", methods=["GET"])
def read_package(package_name):
    for python_package in python_packages:
        if python_package["name"] == package_name:
            return jsonify(python_package)
    return not_found()


@packages_bp.route("/<package_name>", methods=["PUT"])
def update_package(package_name):
    req_data = request.json
    for python_package in python_packages:
        if python_package["name"] == package_name:
            python_package["short_desc"] = req_data.get("short_desc")
            return Response(response=None, status=204)
    return not_found()


@packages_bp.route("/<package_name>", methods=["DELETE"])
def delete_package(package_name):
    for idx, python_package in enumerate(python_packages):
        if python_package["name"] == package_name:
            del python_packages[idx]
            return Response(response=None, status=204)
    return not_found()
