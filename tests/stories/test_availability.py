"""The story of what must not be shown: from the moment a file says so, in no answer, whatever else changes."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.availability import Change, withdraw, wrongly_shown
from tests.support.helpers import put
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.swapping import TwoModels

USERS, ITEMS = 100, 300
CHANGES = 6


class Shop:
    """Two models, a catalog and two lists in a directory; another ``server`` is another start."""

    def __init__(self, directory: Path) -> None:
        self.models = TwoModels.make(users=USERS, items=ITEMS, factors=8)
        self.model = directory / "als_model.npz"
        self.items = directory / "items.csv"
        self.unavailable = directory / "unavailable.txt"
        self.hidden = directory / "hidden.txt"
        self._state = directory / "state"
        self.models.put(self.versions[0], self.model)

    @property
    def versions(self) -> list[str]:
        """Return the versions of the two models."""
        return list(self.models.contents)

    def server(self, **settings: Any) -> AbstractContextManager[RunningServer]:
        """Start a server that obeys both lists."""
        settings |= {"unavailable": self.unavailable, "hidden_users": self.hidden}
        return running_server(self.model, self._state, **settings)

    def shows_only(self, server: RunningServer, parity: int) -> bool:
        """Return whether twenty answers, so probably those of every worker, show even or odd items alone."""
        return all({item % 2 for item in items(server)} == {parity} for _ in range(20))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a shop in which nothing is unavailable and nobody hidden."""
    made = Shop(tmp_path)
    put(made.unavailable, b"")
    put(made.hidden, b"")
    return made


def items(server: RunningServer, user: int = 1) -> set[int]:
    """Return all that is recommended to a user."""
    status, body = server.get(f"/v1/users/{user}/recommendations?n={ITEMS}")
    assert status == 200
    return {entry["item_id"] for entry in body["items"]}


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_withdrawn_under_load_is_not_shown(shop: Shop, workers: int) -> None:
    """While lists and models are replaced, no request fails, and no answer shows what it must not."""
    paths = ["/v1/users/{}/recommendations?n=10", "/v1/items/{}/similar?n=10"]
    with shop.server(workers=workers) as server:
        await asyncio.to_thread(server.wait_until_ready)
        stop, loop, changes = asyncio.Event(), asyncio.get_running_loop(), list[Change]()
        load = asyncio.create_task(
            open_loop(server.url, lambda number: paths[number % 2].format(number * 7919 % USERS), 100, stop)
        )
        for number in range(CHANGES):
            renamed = loop.time()
            await asyncio.to_thread(withdraw, shop.unavailable, ITEMS, number % 2)
            if number % 2:
                shop.models.put(shop.versions[number // 2 % 2], shop.model)
            # How soon a change counts, in all workers, is measured by the benchmark.
            await asyncio.to_thread(server.wait_until, partial(shop.shows_only, server, 1 - number % 2))
            changes.append(Change(renamed, loop.time(), number % 2))
            await asyncio.sleep(0.3)
        stop.set()
        answers = await load
    assert [answer for answer in answers if answer.status != 200] == []
    assert wrongly_shown(answers, changes) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_with_a_bad_list_keeps_the_last_one(shop: Shop, workers: int) -> None:
    """Neither a bad list nor a missing one makes anything visible again."""
    put(shop.unavailable, b"0\n1\n2\n")
    put(shop.hidden, b"7\n")
    with shop.server(workers=workers) as server:
        server.wait_until_ready()
        assert items(server).isdisjoint({0, 1, 2})
        put(shop.unavailable, b"\xff\n")
        shop.hidden.unlink()
        server.wait_for("policy_rejected", setting="ALS_UNAVAILABLE")
        server.wait_for("policy_rejected", setting="ALS_HIDDEN_USERS")
        assert items(server).isdisjoint({0, 1, 2})
    with shop.server(workers=workers) as server:
        server.wait_until_ready()
        assert items(server) == set(range(3, ITEMS))
        assert server.get("/v1/users/7/items")[1]["code"] == "unknown_user"
        put(shop.unavailable, b"5\n")
        server.wait_until(lambda: 5 not in items(server))
        assert items(server) == set(range(ITEMS)) - {5}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_older_model_is_served_with_the_current_lists(shop: Shop, workers: int) -> None:
    """Going back to an older model file, or to the last one after a restart, brings nothing back."""
    first, second = shop.versions
    with shop.server(workers=workers) as server:
        server.wait_until_serving(first)
        shop.models.put(second, shop.model)
        server.wait_until_serving(second)
        put(shop.unavailable, b"4\n")
        server.wait_until(lambda: 4 not in items(server))
        shop.models.put(first, shop.model)
        server.wait_until_serving(first)
        assert 4 not in items(server)
    shop.model.unlink()
    with shop.server(workers=workers) as server:
        server.wait_until_ready()
        assert 4 not in items(server)


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_served_before_it_is_known_what_must_not_be_shown(shop: Shop, workers: int) -> None:
    """Until there is a good file for each setting, every route with items or users says which is missing."""
    shop.hidden.unlink()
    with shop.server(workers=workers, items=shop.items, management_port=0) as server:
        server.wait_for("loaded")
        server.wait_until(lambda: server.get("/readyz")[1].get("detail", "").startswith("Nothing is served before"))
        for path in ("/v1/users", "/v1/users/1/recommendations", "/v1/items/popular", "/v1/items/1/similar"):
            status, body = server.get(path)
            assert (status, body["code"]) == (503, "not_ready")
            assert "ALS_HIDDEN_USERS" in body["detail"]
        put(shop.hidden, b"1\n")
        put(shop.items, b"id,title,available\n5,Five,no\n6,Six,yes\n")
        server.wait_until(lambda: all(server.get("/readyz")[0] == 200 for _ in range(20)))
        assert server.get("/v1/users?n=3")[1]["users"] == [0, 2, 3]
        assert 5 not in items(server, user=2)
        listed = server.get(f"/v1/users/2/recommendations?n={ITEMS}&titles=true")[1]["items"]
        assert {entry["item_id"]: entry.get("title") for entry in listed if "title" in entry} == {6: "Six"}
