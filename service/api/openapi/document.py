"""The OpenAPI 3.1 document, generated from the routes, the types that parse and encode, and the table of errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from service import __version__
from service.api import problems
from service.api.answers import (
    CONTENT_TYPE,
    MODEL_VERSION,
    SCHEMAS,
    UnknownItem,
    UserFailure,
    UserResult,
    encode,
)
from service.api.instrument import REQUEST_ID
from service.api.openapi import examples
from service.api.parameters import Anything
from service.api.problems import HTTP_STATUS, Problem
from service.api.route import AnyRoute
from service.errors import AlsServeError
from service.model.factors import Id
from service.model.storage.source import Version

Json: TypeAlias = dict[str, Any]

_TAGS = {
    "Recommendations": "Recommendations for one, many or anonymous users.",
    "Users": "The users of the model.",
    "Items": "The items of the model.",
    "Server": "The served model and the server's health.",
    "Administration": "Which version is served. Only servers with tokens have this, at their management port if there "
    "is one.",
    "Pages": "The explorer, this document, and their files.",
}
_ABOUT = (
    "Exact recommendations from an ALS model. Each answer comes from a single model, named by `model_version` and by "
    "the header `X-Model-Version`. Every error is a [problem+json](https://www.rfc-editor.org/rfc/rfc9457) document "
    "whose `detail` is one sentence."
)
_IN_A_PATH = "Percent-encode it; a slash is `%2F`. The ids `.` and `..` cannot be sent in a path; use the POST forms."
_ID = {"type": "string", "minLength": 1}
_ANY_ID = msgspec.json.schema(Id)
#: An id in a comma-separated list, as query_strings.BLANKS has it.
_NO_BLANK_ENDS = r"^[^ \t\n\r\v\f]([\s\S]*[^ \t\n\r\v\f])?$"
_PATH: dict[str, Json] = {
    "user": {"description": f"The user's id. {_IN_A_PATH}", "schema": _ID, "example": examples.USER},
    "item": {"description": f"The item's id. {_IN_A_PATH}", "schema": _ID, "example": examples.ITEM},
}
# msgspec cannot encode istr.
_REQUEST_ID, _MODEL_VERSION = str(REQUEST_ID), str(MODEL_VERSION)
_TEXT = {"type": "string"}
_HEADERS: Json = {
    _REQUEST_ID: {"description": "The request id, as in the server's log.", "required": True, "schema": _TEXT},
    _MODEL_VERSION: {
        "description": "The version of the model that answered, if any.",
        "schema": msgspec.json.schema(Version),
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"const": problems.RETRY_AFTER},
    },
    "WWW-Authenticate": {
        "description": "How to send a token, and what is wrong with the one that was sent, if any.",
        "required": True,
        "schema": {"enum": sorted(problems.CHALLENGES.values())},
    },
    "ETag": {"description": "Changes with the content.", "required": True, "schema": _TEXT},
}
_TOKEN: Json = {
    "type": "http",
    "scheme": "bearer",
    "description": "Only needed by servers with `ALS_TOKENS_FILE`. A token has scopes, and an operation needs one.",
}
_HEADERS_BY_STATUS = {401: ["WWW-Authenticate"], 403: ["WWW-Authenticate"], 503: ["Retry-After"]}
#: Types that answers contain without naming them; see answers.py.
_UNNAMED = (UserResult, UserFailure, UnknownItem)


def document(routes: Sequence[AnyRoute], *, ids_as_text: bool = False) -> Json:
    """Return the document for a server's routes, whose answers may write all ids as text."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "als-serve",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "./", "description": "Where this document is, also behind a path prefix."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes, ids_as_text=ids_as_text),
            "headers": _HEADERS,
            "securitySchemes": {"token": _TOKEN},
        },
    }


def _operation(route: AnyRoute) -> Json:
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n\n")
    described = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": summary.rstrip("."),
        "description": description,
        # {} means that a request without a token may be admitted, too: a server may have no tokens.
        "security": [{}, {"token": [route.scope]}] if route.scope else [],
        "parameters": [*_in_path(route), *_in_query(route), _request_id(), *_version(route)],
        "responses": _good(route) | _bad(route),
    }
    if route.has_body:
        assert route.example is not None, f"The route {route.name} needs an example of its body."
        described["requestBody"] = {"required": True, "content": _json(route.example)}
    return described


def _in_path(route: AnyRoute) -> list[Json]:
    file = {"description": "A file of the page.", "schema": {"type": "string", "enum": sorted(route.files)}}
    described = _PATH | {"file": file}
    names = re.findall(r"{(\w+)}", route.path)
    return [{"name": name, "in": "path", "required": True, **described[name]} for name in names]


def _in_query(route: AnyRoute) -> Iterator[Json]:
    if route.options is Anything:
        return
    (options,) = msgspec.json.schema(route.query)["$defs"].values()
    _type_choices(options)
    for name, schema in options["properties"].items():
        described = {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        if schema["type"] == "array":
            schema["items"] = _ID | {"pattern": _NO_BLANK_ENDS}
            described |= {"style": "form", "explode": False}
        if name in options["required"]:
            described |= {"required": True, "example": examples.IDS}
        yield described


def _request_id() -> Json:
    text = "Your id for the request, 1 to 128 printable ASCII characters; the answer repeats it."
    return {"name": _REQUEST_ID, "in": "header", "description": text, "schema": _TEXT}


def _version(route: AnyRoute) -> Iterator[Json]:
    if route.is_versioned:
        text = "The version that answers, as the parameter `model_version`, which goes before."
        yield {"name": _MODEL_VERSION, "in": "header", "description": text, "schema": msgspec.json.schema(Version)}


def _json(example: msgspec.Struct) -> Json:
    return {CONTENT_TYPE: {"schema": _ref(type(example)), "example": msgspec.json.decode(encode(example))}}


def _ref(kind: type[msgspec.Struct]) -> Json:
    return {"$ref": SCHEMAS.format(name=kind.__name__)}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (_REQUEST_ID, *names)}


def _good(route: AnyRoute) -> Json:
    if route.answer is None:
        content: Json = {media: {"schema": schema} for media, schema in route.media.items()}
    else:
        content = _json(route.answer)
    of_a_model = route.answer is not None and "model_version" in route.answer.__struct_fields__
    headers = _headers(*["ETag"] * route.tagged, *[_MODEL_VERSION] * of_a_model)
    description = inspect.cleandoc(route.answer.__doc__ or "") if route.answer else "Success."
    answers: Json = {"200": {"description": description, "headers": headers, "content": content}}
    if route.tagged:
        answers["304"] = {"description": "Not modified.", "headers": _headers("ETag")}
    return answers


def _bad(route: AnyRoute) -> Json:
    """Return a problem for each status that the route can have, with the codes it can have then."""
    codes: dict[int, Json] = {500: {AlsServeError.code: problems.UNEXPECTED}}
    if "{" in route.path:
        codes[404] = {problems.NO_SUCH_PATH: "There is nothing at this path."}
    for error in route.errors:
        codes.setdefault(HTTP_STATUS[error], {})[error.code] = inspect.getdoc(error)
    return {str(status): _problem(status, codes[status]) for status in sorted(codes)}


def _problem(status: int, codes: dict[str, str]) -> Json:
    """Describe a problem by its examples: a schema for each status makes most generated clients drop its body."""
    return {
        "description": "\n\n".join(f"`{code}`: {sentence}" for code, sentence in codes.items()),
        "headers": _headers(*_HEADERS_BY_STATUS.get(status, ())),
        "content": {
            problems.CONTENT_TYPE: {
                "schema": _ref(Problem),
                "examples": {
                    code: {"value": problems.document(status, code, sentence, examples.REQUEST_ID)}
                    for code, sentence in codes.items()
                },
            }
        },
    }


def _schemas(routes: Iterable[AnyRoute], *, ids_as_text: bool) -> Json:
    asked = _components(route.options for route in routes if route.has_body)
    answered = _components([*(type(route.answer) for route in routes if route.answer), *_UNNAMED, Problem])
    for schema in asked.values():
        _may_be_left_out(schema)
    for schema in answered.values():
        _always_there(schema)
        if ids_as_text:
            _write_ids_as_text(schema)
    return dict(sorted((asked | answered).items()))


def _components(kinds: Iterable[type[msgspec.Struct]]) -> Json:
    _, schemas = msgspec.json.schema_components(kinds, ref_template=SCHEMAS)
    for schema in schemas.values():
        schema["description"] = inspect.cleandoc(schema["description"])
        _type_choices(schema)
    return schemas


def _type_choices(schema: object) -> None:
    """Give choices of text their type, which generators for typed languages need and msgspec leaves out."""
    if isinstance(schema, dict) and "enum" in schema:
        schema["type"] = "string"
    for part in _parts(schema):
        _type_choices(part)


def _write_ids_as_text(schema: object) -> None:
    if isinstance(schema, dict) and schema.get("anyOf") == _ANY_ID["anyOf"]:
        del schema["anyOf"]
        schema["type"] = "string"
    for part in _parts(schema):
        _write_ids_as_text(part)


def _parts(schema: object) -> Iterable[object]:
    if isinstance(schema, dict):
        return schema.values()
    return schema if isinstance(schema, list) else ()


def _may_be_left_out(schema: Json) -> None:
    """Move defaults into descriptions: clients in TypeScript would have to send each field that has one.

    In Python they would send the default of the server that the client was generated from.
    """
    for field in schema["properties"].values():
        if "default" in field:
            default = msgspec.json.encode(field.pop("default")).decode()
            field["description"] = f"{field.get('description', '')} Default: {default}.".strip()


def _always_there(schema: Json) -> None:
    """Require fields with defaults: answers include all fields except unset ones."""
    defaulted = [name for name, field in schema["properties"].items() if field.pop("default", _ABSENT) is not _ABSENT]
    schema["required"] = [name for name in schema["properties"] if name in {*schema.get("required", ()), *defaulted}]


_ABSENT = object()
