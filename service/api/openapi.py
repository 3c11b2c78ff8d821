"""The API's own description, OpenAPI 3.1: from its routes, the types that parse and encode, and the table of errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from service import __version__
from service.api import examples, parameters, problems
from service.api.answers import CONTENT_TYPE, MODEL_VERSION, SCHEMAS, UnknownItem, UserFailure, UserResult, Version
from service.api.around import REQUEST_ID
from service.api.operations import OPERATIONS, TAGS, Operation
from service.api.problems import Problem
from service.api.routes import Route
from service.api.shared import Limits
from service.errors import HTTP_STATUS, AlsServeError

Json: TypeAlias = dict[str, Any]

_ABOUT = (
    "What should this user see? Recommendations of an ALS model, exactly, and of one model in each answer: the one "
    "that `model_version` and the header `X-Model-Version` name. Every error is one sentence, in "
    "[problem+json](https://www.rfc-editor.org/rfc/rfc9457)."
)
_IN_A_PATH = (
    "Percent-encode it; a slash is `%2F`. The ids `.` and `..` cannot stand in a path, the POST forms take them."
)
_ID = {"type": "string", "minLength": 1}
_PATH: dict[str, Json] = {
    "user": {"description": f"The user's id. {_IN_A_PATH}", "schema": _ID, "example": examples.USER},
    "item": {"description": f"The item's id. {_IN_A_PATH}", "schema": _ID, "example": examples.ITEM},
}
# msgspec encodes no istr.
_REQUEST_ID, _MODEL_VERSION = str(REQUEST_ID), str(MODEL_VERSION)
_TEXT = {"type": "string"}
_HEADERS: Json = {
    _REQUEST_ID: {"description": "The request's id, for the server's log.", "required": True, "schema": _TEXT},
    _MODEL_VERSION: {
        "description": "The model that answered, if any is served.",
        "schema": msgspec.json.schema(Version),
    },
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"const": problems.RETRY_AFTER}},
    "ETag": {"description": "Changes with the content.", "required": True, "schema": _TEXT},
}
#: What answers hold without naming the type, see answers.py.
_UNNAMED = (UserResult, UserFailure, UnknownItem)


def document(routes: Iterable[Route], limits: Limits) -> Json:
    """Return the document of these routes, as this server's limits have it."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, limits)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "als-serve",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(limits), "headers": _HEADERS},
    }


def _operation(route: Route, limits: Limits) -> Json:
    path, operation = route.path, OPERATIONS[route.method, route.path]
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")
    described = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": summary.rstrip("."),
        "description": description,
        "parameters": [*_in_path(path, operation), *_in_query(operation, limits), _request_id()],
        "responses": _good(operation) | _bad(path, operation),
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    return described


def _in_path(path: str, operation: Operation) -> list[Json]:
    file = {"description": "What the page is made of.", "schema": {"type": "string", "enum": sorted(operation.files)}}
    described = _PATH | {"file": file}
    return [{"name": name, "in": "path", "required": True, **described[name]} for name in re.findall(r"{(\w+)}", path)]


def _in_query(operation: Operation, limits: Limits) -> Iterator[Json]:
    for name in operation.query:
        schema = parameters.SCHEMAS[name] | _settings(limits).get(name, {})
        described = {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        if schema["type"] == "array":
            schema["items"] = _ID
            described |= {"style": "form", "explode": False}
        if "default" not in schema:
            described |= {"required": True, "example": examples.IDS}
        yield described


def _request_id() -> Json:
    text = "An id of yours for the request, 1 to 128 printable ASCII characters; the answer has it, too."
    return {"name": _REQUEST_ID, "in": "header", "description": text, "schema": _TEXT}


def _settings(limits: Limits) -> dict[str, Json]:
    """Return what the server's settings make of the schemas of fields and parameters."""
    return {"n": parameters.n_range(limits.max_n), "fallback": {"default": limits.fallback}}


def _json(kind: type[msgspec.Struct]) -> Json:
    return {CONTENT_TYPE: {"schema": _ref(kind), "example": examples.example_of(kind)}}


def _ref(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": SCHEMAS.format(name=kind.__name__)}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (_REQUEST_ID, *names)}


def _good(operation: Operation) -> Json:
    if operation.answer is None:
        content: Json = {media: {"schema": schema} for media, schema in operation.media.items()}
    else:
        content = _json(operation.answer)
    of_a_model = operation.answer is not None and "model_version" in operation.answer.__struct_fields__
    headers = _headers(*["ETag"] * operation.tagged, *[_MODEL_VERSION] * of_a_model)
    answers: Json = {"200": {"description": _description(operation), "headers": headers, "content": content}}
    if operation.tagged:
        answers["304"] = {"description": "It has not changed since.", "headers": _headers("ETag")}
    return answers


def _description(operation: Operation) -> str:
    return inspect.cleandoc(operation.answer.__doc__ or "") if operation.answer else "As asked."


def _bad(path: str, operation: Operation) -> Json:
    """Return a problem for each status that the operation can have, with each code it may then bear."""
    codes: dict[int, Json] = {500: {AlsServeError.code: problems.UNEXPECTED}}
    if "{" in path:
        codes[404] = {problems.NO_SUCH_PATH: "There is nothing at this path."}
    for error in operation.errors:
        codes.setdefault(HTTP_STATUS[error], {})[error.code] = inspect.getdoc(error)
    return {str(status): _problem(status, codes[status]) for status in sorted(codes)}


def _problem(status: int, codes: dict[str, str]) -> Json:
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": sorted(codes)}}}
    return {
        "description": "\n\n".join(f"`{code}`: {sentence}" for code, sentence in codes.items()),
        "headers": _headers(*["Retry-After"] * (status == HTTPStatus.SERVICE_UNAVAILABLE)),
        "content": {
            problems.CONTENT_TYPE: {
                "schema": {"allOf": [_ref(Problem), narrowed]},
                "examples": {
                    code: {"value": problems.document(status, code, sentence, examples.REQUEST_ID)}
                    for code, sentence in codes.items()
                },
            }
        },
    }


def _schemas(limits: Limits) -> Json:
    asked = _components(operation.body for operation in OPERATIONS.values())
    for schema in asked.values():
        for name in schema["properties"].keys() & _settings(limits).keys():
            schema["properties"][name] |= _settings(limits)[name]
    answered = _components([*(operation.answer for operation in OPERATIONS.values()), *_UNNAMED, Problem])
    for schema in answered.values():
        _always_there(schema)
    return dict(sorted((asked | answered).items()))


def _components(kinds: Iterable[type[msgspec.Struct] | None]) -> Json:
    _, schemas = msgspec.json.schema_components(filter(None, kinds), ref_template=SCHEMAS)
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema["description"])
    return schemas


def _always_there(schema: Json) -> None:
    """Require what has a default: an answer is written with all of its fields, but those left unset."""
    defaulted = [name for name, field in schema["properties"].items() if field.pop("default", _ABSENT) is not _ABSENT]
    schema["required"] = [name for name in schema["properties"] if name in {*schema.get("required", ()), *defaulted}]


_ABSENT = object()
