"""The document: made once, from the table, the types and the examples."""

import re
from collections import defaultdict
from functools import cache
from typing import Any, get_args

import msgspec

from aggregation_service.openapi.examples import EXAMPLES
from aggregation_service.openapi.routes import BYTES, PLAIN_TEXT, ROUTES, Route
from aggregation_service.problems import PROBLEM_MEDIA_TYPE, status_of
from aggregation_service.refusals import RefusalKind
from protocol.messages import Problem
from protocol.signed_requests import DEVICE_HEADER, DIGEST_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIME_HEADER

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_AS_SCHEMA: Json = {"ref_template": _REFERENCE, "schema_hook": lambda _object: {"description": "any JSON"}}
_PARAMETER = re.compile(r"<([a-z0-9_]+)>")
_SECURITY: dict[str, list[Json]] = {
    "none": [],
    "device": [{"device": []}],
    "assignment": [{"device": [], "assignment": []}],
    "operator": [{"operator": []}, {"session": []}],
}
_SIGNED_HEADERS = ", ".join((TIME_HEADER, NONCE_HEADER, DIGEST_HEADER, SIGNATURE_HEADER))


@cache
def openapi_document() -> bytes:
    """The document as JSON, the same bytes in every process of a version."""
    paths: dict[str, Json] = defaultdict(dict)
    for route in ROUTES:
        paths[_PARAMETER.sub(r"{\1}", route.rule)][route.method.lower()] = _operation(route)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Keychorus aggregation service",
            "version": "1",
            "description": "Devices train where they are and send clipped updates; the service adds and noises them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": _security_schemes()},
    }
    return msgspec.json.encode(document)


def _operation(route: Route) -> Json:
    operation: Json = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "security": _SECURITY[route.auth],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route),
    }
    if route.takes is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.takes)}
    return operation


def _operation_id(route: Route) -> str:
    return "_".join([route.method.lower(), *re.findall("[a-z0-9]+", _PARAMETER.sub("", route.rule))])


def _path_parameters(route: Route) -> list[Json]:
    """Any text: what is not a name of the service's is refused, and the answer to that is documented, too."""
    names = _PARAMETER.findall(route.rule)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(route: Route) -> list[Json]:
    if route.query is None:
        return []
    (_, components) = msgspec.json.schema_components([route.query], **_AS_SCHEMA)
    properties = components[route.query.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": _portable(schema)} for name, schema in properties.items()]


def _responses(route: Route) -> Json:
    """Successes, and refusals by status; a status may stand for several kinds, which its description tells."""
    by_status: dict[int, list[RefusalKind]] = defaultdict(list)
    for kind in sorted(route.all_refusals):
        by_status[status_of(kind)].append(kind)
    responses: Json = {
        str(status): {"description": ", ".join(kinds), "content": _problem_content()}
        for status, kinds in sorted(by_status.items())
    }
    for status, answer in route.answers.items():
        told = responses.setdefault(str(status), {"description": "Success" if status < 400 else "Not well"})
        if answer is not None:
            told["content"] = told.get("content", {}) | _content(answer)
    return dict(sorted(responses.items()))


def _content(body: object) -> Json:
    if isinstance(body, str):
        schema: Json = {} if body in {BYTES} or body.startswith("application/vnd") else {"type": "object"}
        return {body: {"schema": {"type": "string"} if body == PLAIN_TEXT else schema}}
    members = get_args(body) or (body,)
    ((schema,), _components) = msgspec.json.schema_components([body], **_AS_SCHEMA)
    examples = {member.__name__: {"value": EXAMPLES[member]} for member in members}
    return {"application/json": {"schema": _portable(schema), "examples": examples}}


def _problem_content() -> Json:
    schema = {"$ref": _REFERENCE.format(name=Problem.__name__)}
    return {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": {Problem.__name__: {"value": EXAMPLES[Problem]}}}}


def _schemas() -> Json:
    bodies = [Problem, *(body for route in ROUTES for body in (route.takes, *route.answers.values()))]
    types = [body for body in bodies if body is not None and not isinstance(body, str)]
    (_, components) = msgspec.json.schema_components(types, **_AS_SCHEMA)
    return {name: _portable(schema) for name, schema in components.items()}


def _portable(schema: Any) -> Any:
    r"""JSON Schema's patterns are ECMA's, where the end is `$` and `\Z` is unknown."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(item) for item in schema] if isinstance(schema, list) else schema


def _security_schemes() -> Json:
    return {
        "device": {
            "type": "apiKey",
            "in": "header",
            "name": DEVICE_HEADER,
            "description": f"Who asks, with {_SIGNED_HEADERS}: an Ed25519 signature by the device's key "
            "over method, path, device, time, nonce and the body's SHA-256.",
        },
        "assignment": {"type": "http", "scheme": "bearer", "description": "The assignment's token."},
        "operator": {"type": "http", "scheme": "basic", "description": "An operator's name and password."},
        "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "A login on /login."},
    }
