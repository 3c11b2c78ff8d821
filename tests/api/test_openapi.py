"""The OpenAPI document agrees with the server and its limits."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

import service
from service.api.problems import HTTP_STATUS
from service.api.routes import ROUTES
from service.errors import BadParameterError
from service.model.storage.source import Version
from service.tokens import ANONYMOUS, Token, Tokens, digest_of
from tests.support.models import make_factors
from tests.support.serving import Api, ApiSettings, make_snapshot, serving

#: All but the metrics: what may be asked of those is the affair of Prometheus' library.
STRICT = [(route.method, route.path) for route in ROUTES if BadParameterError in route.errors]
#: Everything is open but administration, which there is not without tokens.
TOKEN = "als_administrator"
TOKENS: Tokens = (
    Token("chief", frozenset({"admin"}), digest_of(TOKEN)),
    Token(ANONYMOUS, frozenset({"read", "batch", "users", "metrics"}), None),
)
SNAPSHOT = make_snapshot(make_factors())
KNOWN = re.compile(r"The parameter 'nonsense' is unknown here; (?:allowed: (.*)|this path takes no parameters)\.")


async def document_of(api: Api) -> Any:
    """Return the document that a server gives."""
    answer = await api.get("/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json


def operations_of(document: Any) -> dict[tuple[str, str], Any]:
    """Return the operations of a document by method and path."""
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


async def test_it_is_valid_openapi_3_1() -> None:
    """Any tool for OpenAPI reads it: references lead somewhere, defaults fit, operationIds differ."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        document = await document_of(api)
    validate(document)
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == service.__version__


async def test_it_has_every_route_and_no_other() -> None:
    """Every route is described, and nothing else."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        operations = operations_of(await document_of(api))
    routes = {(route.method, route.path): route.handler for route in ROUTES}
    assert operations.keys() == routes.keys()
    for asked, handler in routes.items():
        summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        assert operations[asked]["summary"] + "." == summary
        assert operations[asked]["description"] == description


@pytest.mark.parametrize(("method", "path"), STRICT)
async def test_an_operation_takes_the_parameters_that_it_says(method: str, path: str) -> None:
    """The server, asked for a parameter that nothing has, names just those of the document."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        parameters = operations_of(await document_of(api))[method, path]["parameters"]
        asked = path.replace("{file}", "start.js") + "?nonsense=1"
        headers = {"Authorization": f"Bearer {TOKEN}"} if "/admin/" in path else {}
        refusal = KNOWN.fullmatch((await api.request(method, asked, headers=headers)).json["detail"])
    assert refusal
    documented = sorted(parameter["name"] for parameter in parameters if parameter["in"] == "query")
    assert documented == (refusal[1].split(", ") if refusal[1] else [])
    assert re.findall(r"{(\w+)}", path) == [known["name"] for known in parameters if known["in"] == "path"]


async def test_a_body_has_the_fields_that_a_query_has() -> None:
    """With the same ranges and meanings; an id in a body may be a number too, and a default is in the description.

    Generated clients in TypeScript would have to send a field whose schema has a default.
    """
    async with serving(SNAPSHOT) as api:
        document = await document_of(api)
    parameters = operations_of(document)["GET", "/v1/users/{user}/recommendations"]["parameters"]
    query = {known["name"]: known["schema"] | {"description": known["description"]} for known in parameters}
    bodies = {"BatchBody": {"users"}, "AnonymousBody": {"items"}, "SessionBody": {"items", "exclude_seen"}}
    for name, own in bodies.items():
        fields = document["components"]["schemas"][name]["properties"]
        for field in fields.keys() - own:
            wanted = query[field] | {"items": 0}
            if "default" in wanted:
                wanted["description"] += f" Default: {json.dumps(wanted.pop('default'))}."
            assert fields[field] | {"items": 0} == wanted


async def test_ids_are_text_where_the_server_writes_them_so() -> None:
    """A generated client then has no union of text and numbers in answers; requests take both."""
    async with serving(SNAPSHOT, ApiSettings(ids="text")) as api:
        schemas = (await document_of(api))["components"]["schemas"]
    assert schemas["ScoredItem"]["properties"]["item_id"] == {"type": "string"}
    assert schemas["GivenItem"]["properties"]["item_id"] != {"type": "string"}


async def test_it_has_the_limits_of_the_server() -> None:
    """The largest n and what an unknown user gets are settings: the document is this server's own."""
    async with serving(SNAPSHOT, ApiSettings(max_n=4, fallback="none")) as api:
        document = await document_of(api)
    parameters = operations_of(document)["GET", "/v1/users/{user}/recommendations"]["parameters"]
    schemas = {known["name"]: known["schema"] for known in parameters}
    body = document["components"]["schemas"]["BatchBody"]["properties"]
    for known in (schemas, body):
        assert (known["n"]["minimum"], known["n"]["maximum"]) == (1, 4)
    assert (schemas["n"]["default"], schemas["fallback"]["default"]) == (4, "none")
    assert body["n"]["description"].endswith(" Default: 4.")
    assert body["fallback"]["description"].endswith(' Default: "none".')


async def test_every_example_is_what_it_is_an_example_of() -> None:
    """Every example fits its schema."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        document = await document_of(api)
    shown = list(examples_in(document))
    assert len(shown) > 100
    for schema, example in shown:
        OAS31Validator(schema | {"components": document["components"]}).validate(example)


def examples_in(described: Any) -> Any:
    """Yield each schema of a document that has examples, with each of them."""
    if isinstance(described, list):
        for member in described:
            yield from examples_in(member)
    elif isinstance(described, dict):
        if "schema" in described:
            examples = [example["value"] for example in described.get("examples", {}).values()]
            examples += [described["example"]] if "example" in described else []
            yield from ((described["schema"], example) for example in examples)
        for member in described.values():
            yield from examples_in(member)


async def test_an_answer_is_described_with_all_of_its_fields() -> None:
    """A field with a default, such as null, is always written, so a client may count on it."""
    async with serving(SNAPSHOT) as api:
        schemas = (await document_of(api))["components"]["schemas"]
        for name, path in (("ServedModel", "/v1/model"), ("PopularItems", "/v1/items/popular"), ("Ready", "/readyz")):
            assert schemas[name]["required"] == list((await api.get(path)).json)
    async with serving(None) as api:
        assert schemas["ServedModel"]["required"] == list((await api.get("/v1/model")).json)
        assert schemas["Problem"]["required"] == list((await api.get("/readyz")).json)


async def test_every_kind_of_problem_is_described() -> None:
    """Each operation lists the errors that it can have, with status and code."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        operations = operations_of(await document_of(api)).values()
    described = {
        (int(status), code)
        for operation in operations
        for status, answer in operation["responses"].items()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", ())
    }
    raised = {(status, error.code) for error, status in HTTP_STATUS.items()}
    assert described == raised | {(404, "no_such_path"), (500, "internal_error")}


async def test_every_problem_has_one_schema() -> None:
    """Also in generated clients: most of them cannot narrow a schema for each status, and drop the body instead."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        operations = operations_of(await document_of(api)).values()
    schemas = [
        answer["content"]["application/problem+json"]["schema"]
        for operation in operations
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert schemas == [{"$ref": "#/components/schemas/Problem"}] * len(schemas)


async def test_every_choice_has_a_type() -> None:
    """Generators for typed languages need it."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        document = await document_of(api)
    choices = [part for part in parts_of(document["components"]["schemas"] | document["paths"]) if "enum" in part]
    assert len(choices) > 10
    assert {choice.get("type") for choice in choices} == {"string"}


def parts_of(described: Any) -> Iterator[dict[str, Any]]:
    """Yield each object of a document."""
    if isinstance(described, dict):
        yield described
    for part in described.values() if isinstance(described, dict) else described if isinstance(described, list) else ():
        yield from parts_of(part)


async def test_a_version_is_described_alike_everywhere() -> None:
    """Whatever answer names its model says how such a name looks."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        schemas = (await document_of(api))["components"]["schemas"]
    described = [schema["properties"].get("model_version") for schema in schemas.values()]
    version = msgspec.json.schema(Version)
    assert described.count(version) > 8
    assert all(field in (None, version) or field["anyOf"][0] == version for field in described)


@pytest.mark.parametrize("at", ["http://127.0.0.1:8080/", "https://gateway.example/shop/reco/"])
async def test_the_server_is_where_the_document_is(at: str) -> None:
    """Also behind a gateway that removes a prefix: /docs and generated clients then ask at the prefix."""
    async with serving(SNAPSHOT) as api:
        (server,) = (await document_of(api))["servers"]
    assert urljoin(at + "openapi.json", server["url"]) == at


async def test_every_scope_is_described() -> None:
    """An operation names its scope and says how it refuses; one that is open has neither."""
    async with serving(SNAPSHOT, tokens=TOKENS) as api:
        document = await document_of(api)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for route in ROUTES:
        operation = operations_of(document)[route.method, route.path]
        assert operation["security"] == ([{}, {"token": [route.scope]}] if route.scope else [])
        refusals = {status: operation["responses"].get(status) for status in ("401", "403")}
        assert all(
            "WWW-Authenticate" in refusal["headers"] if refusal else not route.scope for refusal in refusals.values()
        )
