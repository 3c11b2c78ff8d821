"""Query parameters: what they do, their limits, and how wrong ones are refused."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import pytest
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

import service.api
from service.api.context import Question
from service.api.parameters import Counted, ListedItems, Recommending, Titled
from service.api.query_strings import QueryReader
from service.api.route import NOTHING, Route
from service.api.routes import ROUTES
from service.errors import BadParameterError
from tests.support.models import make_factors
from tests.support.serving import ApiSettings, make_snapshot, serving

SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
ITEM = SNAPSHOT.model.item_ids.at(np.array([0]))[0]

RECOMMENDATIONS = f"/v1/users/{USER}/recommendations"
SCORES = f"/v1/users/{USER}/scores"
N = "a whole number from 1 to 1000."
OFFSET = "a whole number from 0 to 10000."
KNOWN = (
    "allowed: exclude, exclude_seen, fallback, filter, max_per, min_score, model_version, n, normalize, offset, only, "
    "titles."
)

REFUSED = [
    (f"{RECOMMENDATIONS}?n=0", f"The parameter n is '0'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=1001", f"The parameter n is '1001'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=-1", f"The parameter n is '-1'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=", f"The parameter n is ''; it must be {N}"),
    (f"{RECOMMENDATIONS}?n", f"The parameter n is ''; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=1.5", f"The parameter n is '1.5'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=1.", f"The parameter n is '1.'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=%201", f"The parameter n is ' 1'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=1_0", f"The parameter n is '1_0'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=%D9%A3", f"The parameter n is '٣'; it must be {N}"),
    (f"{RECOMMENDATIONS}?n=" + "9" * 5000, f"The parameter n is '{'9' * 80}…'; it must be {N}"),
    (f"{RECOMMENDATIONS}?offset=-1", f"The parameter offset is '-1'; it must be {OFFSET}"),
    (f"{RECOMMENDATIONS}?offset=10001", f"The parameter offset is '10001'; it must be {OFFSET}"),
    (f"{RECOMMENDATIONS}?exclude_seen=True", "The parameter exclude_seen is 'True'; it must be true or false."),
    (f"{RECOMMENDATIONS}?exclude_seen=1", "The parameter exclude_seen is '1'; it must be true or false."),
    (f"{RECOMMENDATIONS}?normalize=", "The parameter normalize is ''; it must be true or false."),
    (f"{RECOMMENDATIONS}?fallback=random", "The parameter fallback is 'random'; it must be none or popular."),
    (f"{RECOMMENDATIONS}?n=1&n=1", "The parameter n is given more than once; give it once."),
    (f"{RECOMMENDATIONS}?n=1&%6E=1", "The parameter n is given more than once; give it once."),
    (f"{RECOMMENDATIONS}?exclude=7&exclude=", "The parameter exclude has an empty id; give ids separated by commas."),
    (
        f"{RECOMMENDATIONS}?exclude={','.join(['7'] * 600)}&exclude={','.join(['7'] * 401)}",
        "The parameter exclude lists 1001 ids; at most 1000 are allowed.",
    ),
    (f"{RECOMMENDATIONS}?limit=5", f"The parameter 'limit' is unknown here; {KNOWN}"),
    (f"{RECOMMENDATIONS}?N=5", f"The parameter 'N' is unknown here; {KNOWN}"),
    (f"{RECOMMENDATIONS}?=5", f"The parameter '' is unknown here; {KNOWN}"),
    (f"{RECOMMENDATIONS}?exclude=%FF", "The parameter exclude is not UTF-8; percent-encode its UTF-8 bytes."),
    (f"{RECOMMENDATIONS}?%FF=1", "A parameter's name is not UTF-8; percent-encode its UTF-8 bytes."),
    (
        f"{RECOMMENDATIONS}?exclude=" + ",".join(["7"] * 1001),
        "The parameter exclude lists 1001 ids; at most 1000 are allowed.",
    ),
    ("/v1/users/%FF/recommendations", "The user in the path is not UTF-8; percent-encode its UTF-8 bytes."),
    ("/v1/users/a%2F%C3/similar", "The user in the path is not UTF-8; percent-encode its UTF-8 bytes."),
    (
        f"/v1/users/{USER}/explanations/%ED%A0%80",
        "The item in the path is not UTF-8; percent-encode its UTF-8 bytes.",
    ),
    (f"/v1/users/{USER}/similar?n=0", f"The parameter n is '0'; it must be {N}"),
    (f"/v1/users/{USER}/similar?offset=1", "The parameter 'offset' is unknown here; allowed: model_version, n."),
    (f"/v1/items/{ITEM}/similar?n=0", f"The parameter n is '0'; it must be {N}"),
    (SCORES, "The parameter items is missing; give ids separated by commas."),
    (f"{SCORES}?items=", "The parameter items is missing; give ids separated by commas."),
    (f"{SCORES}?items=1,,2", "The parameter items has an empty id; give ids separated by commas."),
    *(
        (
            f"{path}={sent}",
            f"The parameter {path.rpartition('?')[2]} has the id {blank!r} with a blank at an end; separate ids by "
            "commas alone.",
        )
        for path, sent, blank in (
            (f"{RECOMMENDATIONS}?exclude", "1,%20b", " b"),
            (f"{RECOMMENDATIONS}?exclude", "a+,b", "a "),
            (f"{SCORES}?items", "%09a", "\ta"),
            (f"{SCORES}?items", "a,%0A", "\n"),
        )
    ),
    (f"{RECOMMENDATIONS}?exclude=1,", "The parameter exclude has an empty id; give ids separated by commas."),
    (f"{SCORES}?items=1&normalize=yes", "The parameter normalize is 'yes'; it must be true or false."),
    (f"{SCORES}?items=" + "," * 1000, "The parameter items lists 1001 ids; at most 1000 are allowed."),
    (f"/v1/users/{USER}/items?n=1001", f"The parameter n is '1001'; it must be {N}"),
    (f"/v1/users/{USER}/items?offset=x", f"The parameter offset is 'x'; it must be {OFFSET}"),
    (f"/v1/users/{USER}/explanations/{ITEM}?n=x", f"The parameter n is 'x'; it must be {N}"),
    ("/v1/items/popular?n=x", f"The parameter n is 'x'; it must be {N}"),
    (
        "/v1/items/popular?exclude=1",
        "The parameter 'exclude' is unknown here; allowed: filter, max_per, min_score, model_version, n, offset, only, "
        "titles.",
    ),
    ("/v1/model?n=1", "The parameter 'n' is unknown here; this path takes no parameters."),
    ("/healthz?x", "The parameter 'x' is unknown here; this path takes no parameters."),
    ("/readyz?x", "The parameter 'x' is unknown here; this path takes no parameters."),
]


@pytest.mark.parametrize(("path", "detail"), REFUSED, ids=[path[:60] for path, _ in REFUSED])
async def test_a_malformed_parameter_is_named(path: str, detail: str) -> None:
    """The answer is 400 and says which parameter it is and what is allowed."""
    async with serving(SNAPSHOT) as api:
        answer = await api.get(path)
    assert (answer.status, answer.json["code"], answer.json["detail"]) == (400, "bad_parameter", detail)


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("", "n=10"),
        ("n=1000&offset=10000", "offset=10000"),
        ("n=0010", "n=10"),
        ("n=3.0&offset=2.00", "n=3&offset=2"),
        ("%6E=%33", "n=3"),
        ("exclude_seen=true&normalize=false&fallback=popular&offset=0", ""),
        ("exclude=", ""),
        ("exclude=a%2Cb", "exclude=a,b"),
        (f"exclude={ITEM}%2C1", f"exclude=1,{ITEM}"),
        (f"exclude={ITEM}&n=3&exclude=1,2", f"exclude=1,2,{ITEM}&n=3"),
    ],
)
async def test_two_ways_to_ask_for_the_same(query: str, plain: str) -> None:
    """What is left out has its documented default, and percent-encoding changes nothing."""
    async with serving(SNAPSHOT) as api:
        one, other = await api.get(f"{RECOMMENDATIONS}?{query}"), await api.get(f"{RECOMMENDATIONS}?{plain}")
    assert (one.status, one.json) == (200, other.json)


async def test_the_largest_n_is_a_setting() -> None:
    """It bounds every n, in queries and bodies, and the default n too."""
    items = [{"item_id": ITEM}]
    async with serving(SNAPSHOT, ApiSettings(max_n=4)) as api:
        over = await api.get(f"{RECOMMENDATIONS}?n=5")
        assert over.json["detail"] == "The parameter n is '5'; it must be a whole number from 1 to 4."
        for path, body in (("", {"users": [USER]}), ("/anonymous", {"items": items})):
            posted = await api.post(f"/v1/recommendations{path}", body | {"n": 5})
            assert (posted.status, posted.json["code"]) == (422, "invalid_body")
            assert posted.json["detail"] == "The body is invalid: Expected `int` <= 4 - at `$.n`."
        assert len((await api.get(RECOMMENDATIONS)).json["items"]) == 4
        assert len((await api.post("/v1/recommendations/anonymous", {"items": items})).json["items"]) == 4


class Grown(Recommending):
    """The options of recommendations and one that there is not."""

    least: Annotated[float, Meta(ge=-1, description="The least score.")] | UnsetType = UNSET


class GrownBody(Grown):
    """The same as a body."""

    users: list[int]


async def echo(question: Question[None, Grown]) -> web.Response:
    """Say what is asked."""
    return web.Response(body=msgspec.json.encode(question.options), content_type="application/json")


GROWN = (
    *ROUTES,
    Route("GET", "/grown", echo, NOTHING, Grown, name="grown", tag="Items", scope=None),
    Route(
        "POST",
        "/grown",
        echo,
        NOTHING,
        GrownBody,
        name="grown_body",
        tag="Items",
        scope=None,
        example=GrownBody(users=[]),
    ),
)


async def test_an_option_is_one_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is added to a struct is read from queries and bodies, and handlers are given it."""
    monkeypatch.setattr(service.api, "ROUTES", GROWN)
    async with serving(SNAPSHOT) as api:
        assert (await api.get("/grown?n=3&least=0.5")).json == (await api.get("/grown?n=3")).json | {"least": 0.5}
        refused = await api.get("/grown?least=-2")
        assert refused.json["detail"] == "The parameter least is '-2'; it must be a number from -1."
        assert (await api.post("/grown", {"users": [1], "least": 0.5})).json["least"] == 0.5
        posted = await api.post("/grown", {"users": [1], "least": -2})
        assert posted.json["detail"] == "The body is invalid: Expected `float` >= -1.0 - at `$.least`."


async def test_an_option_is_described_by_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document has its type, range and description, for queries and for bodies."""
    monkeypatch.setattr(service.api, "ROUTES", GROWN)
    schema, description = {"type": "number", "minimum": -1}, "The least score."
    async with serving(SNAPSHOT) as api:
        document = (await api.get("/openapi.json")).json
    parameters = document["paths"]["/grown"]["get"]["parameters"]
    assert {"name": "least", "in": "query", "description": description, "schema": schema} in parameters
    assert document["components"]["schemas"]["GrownBody"]["properties"]["least"] == schema | {
        "description": description
    }


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("-1", -1), ("0.50", 0.5), ("2e-3", 0.002), ("1234567890123", 1234567890123)]
)
def test_a_number_may_have_a_fraction_where_it_is_not_a_count(text: str, number: float) -> None:
    """As JSON writes numbers."""
    assert QueryReader(Grown).read(f"least={text}").least == number


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1_0", "%201", "+1", "1.", ".5", "%D9%A3", "1e999", "1" * 400])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Also what Python takes for one, and what is too large for one."""
    with pytest.raises(BadParameterError, match=r"it must be a number from -1\.$"):
        QueryReader(Grown).read(f"least={text}")


def test_options_may_be_put_together() -> None:
    """A struct has the fields of all that it inherits from, in their order, with their defaults, and refuses others."""

    class Both(Counted, ListedItems, Titled):
        own: bool = True

    assert Both.__struct_fields__ == ("n", "items", "titles", "own")
    assert Both(items=(1,)) == Both(n=10, items=(1,), titles=False, own=True)
    with pytest.raises(msgspec.ValidationError, match="required field `items`"):
        msgspec.json.decode(b"{}", type=Both)
    with pytest.raises(msgspec.ValidationError, match="unknown field `offset`"):
        msgspec.json.decode(b'{"items": [1], "offset": 1}', type=Both)
