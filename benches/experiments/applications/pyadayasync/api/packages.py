"""The third seed's packages on Sanic."""
from sanic import Blueprint, response

packages_bp = Blueprint(name="packages_bp")

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
    return response.json(
        body={"title": "Could not find a package"},
        status=404,
        content_type="application/problem+json",
    )


@packages_bp.route("", methods=["POST"])
async def create_package(request):
    req_data = request.json
    python_packages.append(
        {"name": req_data.get("name"), "short_desc": req_data.get("short_desc")}
    )
    return response.empty(
        status=201,
        headers={"Location": f"/packages/{req_data.get('name')}"},
    )


@packages_bp.route("/<package_name>", methods=["GET"])
async def read_package(_, package_name):
    for python_package in python_packages:
        if python_package["name"] == package_name:
            return response.json(body=python_package)
    return not_found()


@packages_bp.route("/<package_name>", methods=["PUT"])
async def update_package(request, package_name):
    req_data = request.json
    for python_package in python_packages:
        if python_package["name"] == package_name:
            python_package["short_desc"] = req_data.get("short_desc")
            return response.empty(status=204)
    return not_found()


@packages_bp.route("/<package_name>", methods=["DELETE"])
async def delete_package(_, package_name):
    for idx, python_package in enumerate(python_packages):
        if python_package["name"] == package_name:
            del python_packages[idx]
            return response.empty(status=204)
    return not_found()
