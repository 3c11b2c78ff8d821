"""Queries on the event loop and in threads: order, limits and refusals."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.api import queries as queries_module
from service.api import results
from service.api.handlers import recommendations
from service.api.queries import INLINE_MICROSECONDS, PATIENCE_IN_TURNS, Queries
from service.errors import OverloadedError
from service.model.scoring.costs import QueryCosts
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics
from tests.support.helpers import eventually
from tests.support.models import make_factors
from tests.support.serving import Answer, Api, ApiSettings, make_snapshot, serving


def busiest(snapshot: Snapshot) -> int:
    """Return the row of the user who had most."""
    assert snapshot.model.seen
    return int(np.diff(snapshot.model.seen.indptr).argmax())


LONG = INLINE_MICROSECONDS + 1
#: Longer than any test takes, so that no query waits for too long by bad luck.
PATIENT_MS = 60_000
#: While one of these runs, one more may wait for its thread, and no third: the expected wait would be too long.
FILLING = 1000 * PATIENT_MS
SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
BUSIEST = SNAPSHOT.model.user_ids.at(np.array([busiest(SNAPSHOT)]))[0]


@contextmanager
def made(threads: int, queue_ms: float = PATIENT_MS) -> Iterator[Queries]:
    """Make queries, and close them."""
    queries = Queries(threads, queue_ms, Metrics(CollectorRegistry()))
    try:
        yield queries
    finally:
        queries.close()


async def test_cheap_queries_run_on_the_event_loop_and_long_ones_do_not() -> None:
    """The estimate decides, and the limit itself is still cheap."""
    with made(1) as queries:
        here = threading.get_ident()
        assert await queries.run(INLINE_MICROSECONDS, threading.get_ident) == here
        assert await queries.run(LONG, threading.get_ident) != here


async def test_a_query_fails_as_it_would_alone() -> None:
    """An error comes out as it is, from a thread too."""
    with made(1) as queries:
        for estimate in (0, LONG):
            with pytest.raises(ValueError, match="invalid literal"):
                await queries.run(estimate, int, "x")


async def test_one_too_many_is_refused_at_once() -> None:
    """Beyond the budget of work, the next is refused, and the admitted ones are all answered."""
    gate = threading.Event()
    with made(2) as queries:
        admitted = [asyncio.create_task(queries.run(FILLING, gate.wait, 10)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await queries.run(LONG, gate.wait, 10)
        assert await queries.run(0, len, "cheap") == 5
        gate.set()
        assert await asyncio.gather(*admitted) == [True] * 4
        assert await queries.run(LONG, len, "again") == 5


async def test_who_has_waited_for_too_long_is_refused() -> None:
    """Although the estimates promised a thread, which another query keeps for longer; that one is answered."""
    gate = threading.Event()
    with made(1, queue_ms=10) as queries:
        running = asyncio.create_task(queries.run(LONG, gate.wait, 10))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await queries.run(LONG, len, "late")
        gate.set()
        assert await running


async def test_batches_leave_single_queries_their_lane() -> None:
    """While batches fill theirs, a single query is admitted, and has the thread after the next turn."""
    gate, order = threading.Event(), list[str]()
    filling = PATIENCE_IN_TURNS * FILLING
    with made(1) as queries:
        batches = [asyncio.create_task(queries.run_in_turns(filling, turns(order, gate))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await queries.run_in_turns(LONG, turns(order))
        single = asyncio.create_task(queries.run(LONG, order.append, "single"))
        await asyncio.sleep(0)
        gate.set()
        await single
        assert order.index("single") == 1
        assert await asyncio.gather(*batches) == ["answer"] * 2


async def test_single_queries_leave_batches_a_part_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """While single queries always wait, a batch gets on, too."""
    monkeypatch.setattr(queries_module, "_SINGLE_SECONDS", 0.0)
    gate, order = threading.Event(), list[str]()
    with made(1) as queries:
        singles = [asyncio.create_task(queries.run(LONG, gate.wait, 10))]
        await asyncio.sleep(0)
        singles += [asyncio.create_task(queries.run(LONG, order.append, "single")) for _ in range(3)]  # type: ignore[arg-type]  # another result
        batch = asyncio.create_task(queries.run_in_turns(LONG, turns(order)))
        await asyncio.sleep(0)
        gate.set()
        assert await batch == "answer"
        await asyncio.gather(*singles)
        assert order[0] == "turn"


def turns(done: list[str], gate: threading.Event | None = None) -> Iterator[str | None]:
    """Take three turns, each after the gate is open, and give an answer."""
    for _ in range(3):
        if gate:
            gate.wait(10)
        done.append("turn")
        yield None
    yield "answer"


async def test_a_query_in_turns_lets_others_have_theirs() -> None:
    """Who waits for the one thread has it after the next turn, not after the last."""
    done, gate = list[str](), threading.Event()
    with made(1) as queries:
        long = asyncio.create_task(queries.run_in_turns(LONG, turns(done, gate)))
        other = asyncio.create_task(queries.run(LONG, done.append, "other"))
        await asyncio.sleep(0)
        gate.set()
        assert await long == "answer"
        await other
        assert done == ["turn", "other", "turn", "turn"]
        assert await queries.run_in_turns(0, turns(done)) == "answer"


async def test_no_more_queries_have_begun_than_there_are_threads() -> None:
    """What each has found so far takes memory: the next begins when one has ended; one that waits can be abandoned."""
    first, second, third = list[str](), list[str](), list[str]()
    gate = threading.Event()
    with made(1) as queries:
        waiting = [
            asyncio.create_task(queries.run_in_turns(LONG, turns(done, gate))) for done in (first, second, third)
        ]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait(waiting[1:2])
        gate.set()
        await eventually(lambda: third)
        assert (first, second) == (["turn"] * 3, [])
        assert (await waiting[0], await waiting[2]) == ("answer", "answer")


async def test_a_query_that_has_begun_is_not_refused() -> None:
    """However long it takes, all its turns are taken, and another is refused meanwhile."""
    gate = threading.Event()
    with made(1, queue_ms=1) as queries:
        long = asyncio.create_task(queries.run_in_turns(FILLING, turns([], gate)))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await queries.run_in_turns(LONG, turns([]))
        gate.set()
        assert await long == "answer"


async def test_no_turn_is_taken_for_a_client_that_went_away() -> None:
    """The turn that has begun is the last."""
    done, gate = list[str](), threading.Event()
    with made(1) as queries:
        long = asyncio.create_task(queries.run_in_turns(LONG, turns(done, gate)))
        await asyncio.sleep(0)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        gate.set()
        assert await queries.run(LONG, len, "next") == 4
        assert done == ["turn"]


async def test_who_goes_away_gives_the_place_back() -> None:
    """A cancelled query that still waits is never begun, and its place is free at once."""
    gate, begun = threading.Event(), list[int]()
    with made(1) as queries:
        running = asyncio.create_task(queries.run(FILLING, gate.wait, 10))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(queries.run(FILLING, begun.append, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        other = asyncio.create_task(queries.run(FILLING, begun.append, 2))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(running, other)
    assert begun == [2]


def slow(snapshot: Snapshot, microseconds: float = 1e6) -> Snapshot:
    """Let every query of a snapshot count as long."""
    costs = snapshot.manifest.costs
    stretched = msgspec.structs.replace(costs, **dict.fromkeys(costs.__struct_fields__, microseconds))
    return replace(snapshot, manifest=msgspec.structs.replace(snapshot.manifest, costs=stretched))


async def test_the_measured_costs_decide_for_every_route() -> None:
    """On a model whose queries are long, all of them run in threads, and answer the same."""
    item = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
    gets = [
        f"/v1/users/{USER}/recommendations",
        f"/v1/users/{USER}/similar",
        f"/v1/items/{item}/similar",
        f"/v1/users/{USER}/explanations/{item}",
        f"/v1/users/{USER}/scores?items=" + ",".join(["0"] * 500),
    ]
    posts: list[tuple[str, object]] = [
        ("/v1/recommendations", {"users": [USER]}),
        ("/v1/recommendations/anonymous", {"items": [{"item_id": item}]}),
    ]

    async def all_answers(api: Api) -> list[Answer]:
        return [await api.get(path) for path in gets] + [await api.post(path, body) for path, body in posts]

    async with serving(slow(SNAPSHOT)) as long, serving(SNAPSHOT) as cheap:
        assert [answer.json for answer in await all_answers(long)] == [
            answer.json for answer in await all_answers(cheap)
        ]
        for api in (long, cheap):
            queries = api.context.queries
            queries._single.patience = queries._in_turns.patience = -1
        assert [answer.status for answer in await all_answers(long)] == [503] * 7
        # Five hundred look-ups are long wherever they are made.
        assert [answer.status for answer in await all_answers(cheap)] == [200] * 4 + [503] + [200] * 2


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold every query for one user back until the event returned is set."""
    gate = threading.Event()
    one_user = recommendations._one_user

    def held(*arguments: object) -> results.Answer:
        gate.wait(10)
        return one_user(*arguments)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(recommendations, "_one_user", held)
    return gate


async def test_overload_is_said_at_once_and_does_not_stop_the_health_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the threads busy and the queue full: 503 with Retry-After; the rest of the server answers."""
    gate = held_back(monkeypatch)
    path = f"/v1/users/{USER}/recommendations"
    async with serving(slow(SNAPSHOT), ApiSettings(query_threads=1)) as api:
        running = asyncio.create_task(api.get(path))
        await eventually(lambda: api.sample("als_queries") == 1)
        refused = await api.get(path)
        assert (refused.status, refused.json["code"], refused.headers["Retry-After"]) == (503, "overloaded", "1")
        assert [(await api.get(path)).status for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        gate.set()
        assert (await running).status == 200
        assert api.sample("als_queries_refused_total", lane="single") == 1
        assert api.sample("als_query_wait_seconds_count", lane="single") == 1


async def test_full_of_batches_a_server_answers_single_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch too many is refused; a request for one user is answered before the batches are."""
    gate, path = threading.Event(), "/v1/recommendations"

    def held(*_: object) -> Iterator[bytes | None]:
        while not gate.is_set():
            yield None
        yield b"{}"

    monkeypatch.setattr(recommendations, "_many_users", held)
    settings = ApiSettings(query_threads=1, queue_ms=PATIENT_MS)
    async with serving(slow(SNAPSHOT, PATIENCE_IN_TURNS * FILLING), settings) as api:
        body = {"users": [USER] * 2}
        batch = asyncio.create_task(api.post(path, body))
        await eventually(lambda: api.sample("als_queries") == 1)
        assert (await api.post(path, body)).status == 503
        assert (await api.get(f"/v1/users/{USER}/recommendations")).status == 200
        assert not batch.done()
        gate.set()
        assert (await batch).status == 200
        assert api.sample("als_queries_refused_total", lane="batch") == 1


async def test_a_long_explanation_gives_way_like_a_batch() -> None:
    """A user who had very many items keeps no thread from other requests; a short explanation is a single query."""
    item = SNAPSHOT.model.item_ids.at(np.array([0]))[0]
    for snapshot, lane in ((slow(SNAPSHOT), "batch"), (slow(SNAPSHOT, 2 * LONG), "single")):
        async with serving(snapshot) as api:
            assert (await api.get(f"/v1/users/{USER}/explanations/{item}")).status == 200
            assert api.sample("als_query_wait_seconds_count", lane=lane) == 1


class Held:
    """Something that a query holds on to."""


async def test_a_query_whose_client_goes_away_holds_nothing_any_more() -> None:
    """Waiting, it lets go of what it was given the moment it is cancelled, though the threads are busy still."""
    gate = threading.Event()
    with made(1) as queries:
        running = asyncio.create_task(queries.run(LONG, gate.wait, 10))
        await asyncio.sleep(0)
        given = Held()
        remembered = weakref.ref(given)
        waiting = asyncio.create_task(queries.run(LONG, id, given))
        del given
        await asyncio.sleep(0)
        assert remembered() is not None
        waiting.cancel()
        await asyncio.wait([waiting])
        del waiting
        assert remembered() is None
        gate.set()
        await running


async def test_a_query_that_runs_keeps_its_place_until_it_ends() -> None:
    """When a client disconnects, its thread stays busy: no more is admitted than the threads can do."""
    gate = threading.Event()
    with made(1, queue_ms=10) as queries:
        running = asyncio.create_task(queries.run(FILLING, gate.wait, 10))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(OverloadedError):
            await queries.run(LONG, len, "refused")
        gate.set()
        await eventually(lambda: not queries._working)
        assert await queries.run(LONG, len, "again") == 5


async def test_clients_that_hang_up_leave_no_query_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits gives its place back at once, one that runs when it ends; both are counted."""
    gate = threading.Event()
    monkeypatch.setattr(recommendations, "_one_user", lambda *_: gate.wait(10) and b"{}")
    request = f"GET /v1/users/{USER}/recommendations HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with serving(slow(SNAPSHOT), ApiSettings(query_threads=1, queue_ms=PATIENT_MS)) as api:
        writers = []
        for place in (1, 2):
            writers.append((await asyncio.open_connection("127.0.0.1", api.server.port))[1])
            writers[-1].write(request)
            await eventually(partial(lambda wanted: api.sample("als_queries") == wanted, place))
        for writer in writers[::-1]:
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: api.sample("als_queries") == 1)
        gate.set()
        await eventually(lambda: api.sample("als_queries") == 0)
        assert api.sample("als_queries_abandoned_total") == 2


def test_a_query_may_outlive_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """What still runs when the server ends, ends without a word."""
    gate, ended = threading.Event(), threading.Event()

    def long() -> None:
        gate.wait(10)
        ended.set()

    async def run_and_leave() -> Queries:
        queries = Queries(1, PATIENT_MS, Metrics(CollectorRegistry()))
        task = asyncio.create_task(queries.run(LONG, long))
        await asyncio.sleep(0)
        task.cancel()
        return queries

    queries = asyncio.run(run_and_leave())
    gate.set()
    assert ended.wait(10)
    queries._executor.shutdown()
    assert caplog.records == []


async def test_a_swap_during_a_slow_query_does_not_touch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The query ends on the snapshot that it began with; the next request has the new one."""
    gate = held_back(monkeypatch)
    before, after = slow(SNAPSHOT), slow(make_snapshot(make_factors(seed=1), "another"))
    path = f"/v1/users/{USER}/recommendations"
    async with serving(before) as api:
        waiting = asyncio.create_task(api.get(path))
        await eventually(lambda: api.sample("als_queries") == 1)
        api.store.current = after
        gate.set()
        held_up, next_one = await waiting, await api.get(path)
    async with serving(before) as api:
        assert held_up.json == (await api.get(path)).json
    assert held_up.headers["X-Model-Version"] == before.version
    assert next_one.json["model_version"] == next_one.headers["X-Model-Version"] == after.version


def estimated(costs: QueryCosts, seen_share: float) -> list[tuple[str, object, float]]:
    """Return requests, GET where there is no body, and what they should be estimated to take in microseconds."""
    item, other = SNAPSHOT.model.item_ids.at(np.array([0, 1]))
    base = costs.recommend_10 + 3 + 10 * 0.5
    deep = 11 * costs.recommend_1000 + 3 + 1000 * 0.5
    basket = [{"item_id": item}] * 100
    path, batch = f"/v1/users/{USER}/recommendations", "/v1/recommendations"
    anonymous = f"{batch}/anonymous"
    assert SNAPSHOT.model.seen
    had = len(SNAPSHOT.model.seen.of(SNAPSHOT.model.user_ids.row(USER) or 0))
    return [
        (path, None, base),
        (f"{path}?exclude={item},{other}", None, base + 2 * 3),
        (f"{path}?n=1000&offset=10000", None, deep),
        (batch, {"users": [USER] * 7, "exclude": [item]}, 7 * base + 3),
        (anonymous, {"items": basket[:1], "exclude": [1]}, costs.fold_in + costs.recommend_10 + 2 * 3),
        (anonymous, {"items": basket, "offset": 50}, 2 * costs.fold_in + costs.recommend_100 + 100 * 3),
        (path, {"items": basket[:1], "exclude": [1]}, costs.fold_in + costs.recommend_10 + 2 * 3),
        (path, {"items": basket}, (100 + had) / 50 * costs.fold_in + costs.recommend_10 + 100 * 3),
        (f"/v1/users/{BUSIEST}/explanations/{item}", None, costs.explain * seen_share),
    ]


async def test_more_is_estimated_to_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates grow with users, depth, listed ids, a basket, and with what the user had, beyond what was measured."""
    estimates = list[float]()

    def recorded(run: Callable[..., Any]) -> Callable[..., Any]:
        async def recording(self: Queries, estimate_us: float, *rest: Any) -> object:
            estimates.append(estimate_us)
            return await run(self, estimate_us, *rest)

        return recording

    monkeypatch.setattr(Queries, "run", recorded(Queries.run))
    monkeypatch.setattr(Queries, "run_in_turns", recorded(Queries.run_in_turns))
    seen = SNAPSHOT.model.seen
    assert seen is not None
    cases = estimated(SNAPSHOT.manifest.costs, np.diff(seen.indptr).max() / np.diff(seen.indptr).mean())
    async with serving(SNAPSHOT) as api:
        for path, body, _ in cases:
            answer = await (api.post(path, body) if body else api.get(path))
            assert answer.status == 200
    assert estimates == pytest.approx([expected for _, _, expected in cases])
