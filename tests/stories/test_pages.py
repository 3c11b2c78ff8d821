"""The story of pages: a client that names the version of its first page sees one model, however often it is swapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.helpers import model_bytes, put
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server

pytestmark = pytest.mark.usefixtures("children_are_measured")

ITEMS, N = 60, 7
FILES = [model_bytes(factors=make_factors(users=20, items=ITEMS, seed=seed, pairs=60)) for seed in range(4)]


class Shop:
    """A running server, and the model path that it follows."""

    def __init__(self, model: Path, server: RunningServer) -> None:
        self.model = model
        self.server = server

    def swap(self, content: bytes) -> str:
        """Replace the model; return its version once it is served."""
        version = put(self.model, content)
        self.server.wait_until_serving(version)
        return version

    def page(self, offset: int, version: str = "") -> tuple[int, Any]:
        """Return a page of a user's recommendations."""
        named = f"&model_version={version}" if version else ""
        return self.server.get(f"/v1/users/5/recommendations?n={N}&offset={offset}&exclude_seen=false{named}")


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Run a server that keeps two versions."""
    unavailable = tmp_path / "unavailable"
    unavailable.write_text("")
    settings = {"workers": request.param, "keep_snapshots": 2, "unavailable": unavailable, "probation_seconds": 0}
    put(tmp_path / "model.npz", FILES[0])
    with running_server(tmp_path / "model.npz", tmp_path / "state", **settings) as server:
        server.wait_until_ready()
        yield Shop(tmp_path / "model.npz", server)


def test_pages_across_swaps(shop: Shop) -> None:
    """No item is repeated or skipped while the model is swapped between the pages; without the version, some are."""
    first = shop.swap(FILES[0])
    expected = [item["item_id"] for item in shop.server.get(everything())[1]["items"]]
    paged, unpinned = [], []
    for number, offset in enumerate(range(0, ITEMS, N)):
        shop.swap(FILES[number % 2])
        status, body = shop.page(offset, first)
        assert (status, body["model_version"]) == (200, first)
        paged += [item["item_id"] for item in body["items"]]
        unpinned += [item["item_id"] for item in shop.page(offset)[1]["items"]]
    assert paged == expected
    assert len(set(unpinned)) < ITEMS


def everything() -> str:
    """Return the path of the whole list."""
    return f"/v1/users/5/recommendations?n={ITEMS}&exclude_seen=false"


def test_a_version_that_is_gone(shop: Shop) -> None:
    """It is 410, with the versions that can be named."""
    versions = [shop.swap(content) for content in FILES]
    path = f"/v1/users/5/recommendations?model_version={versions[1]}"
    # Files are removed soon after a swap.
    unknown = "/v1/items?model_version=0123456789abcdef"
    shop.server.wait_until(lambda: shop.server.get(unknown)[1]["detail"].count(",") == 1)
    status, problem = shop.server.get(path)
    assert (status, problem["code"]) == (410, "version_gone")
    assert f"; {versions[3]}, {versions[2]} can be named" in problem["detail"]
    assert shop.page(0, versions[2])[0] == 200
    assert shop.page(0, "nonsense")[1]["code"] == "bad_parameter"


def test_what_must_not_be_shown_is_not_shown(shop: Shop, tmp_path: Path) -> None:
    """An earlier version answers under the policy of the moment, too."""
    first = shop.swap(FILES[0])
    shop.swap(FILES[1])
    best = shop.page(0, first)[1]["items"][0]["item_id"]
    put(tmp_path / "unavailable", f"{best}\n".encode())

    def is_hidden() -> bool:
        bodies = [shop.page(0, first)[1] for _ in range(8)]
        assert {body["model_version"] for body in bodies} == {first}
        return all(best not in [item["item_id"] for item in body["items"]] for body in bodies)

    shop.server.wait_until(is_hidden)
    assert shop.server.get(f"/v1/items/{quote(str(best))}?model_version={first}")[1]["available"] is False
