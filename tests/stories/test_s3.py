"""Models from S3: published, followed and swapped, with the real command, server and store."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_proxy import Cut, Drip, Fault, FaultProxy, Refuse, Stall, s3_error
from tests.support.fleets import Fleet
from tests.support.helpers import eventually, model_bytes, put, version
from tests.support.interactions import write_interactions
from tests.support.load import open_loop
from tests.support.models import make_factors
from tests.support.running import RunningServer
from tests.support.seaweed import Seaweed, running_seaweed

OLD, NEW = model_bytes(1), model_bytes(2)
MODEL = "als_model_"


@pytest.fixture
def fleet(seaweed: Seaweed, versioned_bucket: str, tmp_path: Path) -> Fleet:
    """Return a prefix of its own, with versions."""
    return Fleet(seaweed, versioned_bucket, tmp_path)


def test_what_is_published_is_served_until_another_is_promoted(fleet: Fleet) -> None:
    """A server waits for the first model, swaps in the next, and follows the pointer back: a rollback holds."""
    with fleet.server() as server:
        server.wait_for("s3_failed", reason="not_found")
        assert server.get("/readyz")[0] == 503
        first = fleet.publish(OLD)
        server.wait_until_serving(version(OLD))
        fleet.publish(NEW)
        server.wait_until_serving(version(NEW))
        told = server.get("/v1/model")[1]["s3"]
        assert told["served"] == told["latest"]
        assert told["served"]["sha256"].startswith(version(NEW))
        assert server.get("/v1/model")[1]["load_seconds"]["download"] == told["served"]["seconds"]
        assert told["last_poll"]["outcome"] in ("downloaded", "unchanged")
        fleet.run("promote", first)
        server.wait_until_serving(version(OLD))
        looked = server.get("/v1/model")[1]["s3"]["last_success_at"]
        server.wait_until(lambda: server.get("/v1/model")[1]["s3"]["last_success_at"] > looked)
        assert server.get("/v1/model")[1]["model_version"] == version(OLD)


def test_a_model_that_a_gate_blocks_is_accepted_on_the_server(fleet: Fleet) -> None:
    """One that was published by force is refused by the server that follows, until it is accepted there."""
    small = model_bytes(factors=make_factors(users=3, items=30, pairs=9))
    fleet.publish(OLD)
    with fleet.server() as server:
        server.wait_until_ready()
        server.wait_until_serving(version(OLD))
        (fleet.directory / "small.npz").write_bytes(small)
        fleet.run("publish", "small.npz", fleet.uri, "--force")
        server.wait_for("rejected", reason="gate_counts")
        assert server.get("/v1/model")[1]["model_version"] == version(OLD)
        fleet.run("accept", version(small), "--state-dir", str(fleet.directory / "state"))
        server.wait_until_serving(version(small))


async def test_items_come_from_s3_as_well(fleet: Fleet) -> None:
    """A server with a model waits for the items, takes each new file of them, and keeps them while S3 has none."""
    factors = make_factors(users=20, items=30, pairs=None)
    user, ids = factors.user_ids[0], set(map(str, factors.item_ids))
    put(fleet.path, model_bytes(factors=factors))
    follows: dict[str, Any] = {"s3_uri": "", "items": fleet.directory / "items.csv", "items_s3_poll_seconds": 0.2}

    def is_shown(server: RunningServer, expected: set[str]) -> bool:
        body = server.get(f"/v1/users/{user}/recommendations?n=30")[1]
        return {str(item["item_id"]) for item in body.get("items", [])} == expected

    with fleet.server(items_s3_uri=f"{fleet.uri}items.csv", **follows) as server:
        server.wait_for("s3_failed", reason="not_found")
        assert server.get("/readyz")[0] == 503
        for hidden in (set(sorted(ids)[:15]), set(sorted(ids)[15:])):
            rows = "".join(f"{item},{'no' if item in hidden else 'yes'}\n" for item in ids)
            await fleet.bucket.put("items.csv", f"id,available\n{rows}".encode())
            await asyncio.to_thread(server.wait_until, partial(is_shown, server, ids - hidden))


async def test_no_request_fails_while_s3_does(fleet: Fleet, proxy: FaultProxy) -> None:
    """Faults 40 to 49 under load: the model stays, every request is answered, and the next model comes all the same."""
    faults: dict[str, tuple[Fault, str]] = {
        "access_denied": (s3_error(403, "AccessDenied"), ""),
        "unavailable": (s3_error(503, "SlowDown"), ""),
        "cut_short": (Cut(after=500), MODEL),
        "timeout": (Stall(after=500), MODEL),
        "unreachable": (Refuse(), ""),
    }
    with fleet.server(proxy.endpoint, s3_timeout_seconds=2) as server:
        await fleet.put(OLD)
        await asyncio.to_thread(server.wait_until_serving, version(OLD))
        stop, user = asyncio.Event(), make_factors(users=20, items=30, seed=0, pairs=60).user_ids[0]
        load = asyncio.create_task(open_loop(server.url, lambda _: f"/v1/users/{user}/recommendations", 20, stop))
        served = [version(OLD)]
        for seed, (reason, (fault, matching)) in enumerate(faults.items(), 10):
            proxy.fail(fault, matching=matching)
            served.append(await fleet.put(model_bytes(seed)))
            await asyncio.to_thread(server.wait_for, "s3_failed", reason=reason)
            assert (await asyncio.to_thread(server.get, "/v1/model"))[1]["model_version"] == served[-2]
            proxy.heal()
            await asyncio.to_thread(server.wait_until_serving, served[-1])
        stop.set()
        answers = await load
    assert {answer.status for answer in answers} == {200}
    in_order = sorted(answers, key=lambda answer: answer.done)
    assert list(dict.fromkeys(answer.version for answer in in_order)) == served


def test_a_store_that_dies_is_missed_and_found_again(tmp_path: Path) -> None:
    """Fault 48, and a store killed while it is followed: the snapshot on disk is served, and then what is new."""
    with running_seaweed(tmp_path / "s3") as store:
        fleet = Fleet(store, asyncio.run(store.make_bucket()), tmp_path)
        asyncio.run(fleet.put(OLD))
        with fleet.server() as server:
            server.wait_until_serving(version(OLD))
            store.kill()
            server.wait_for("s3_failed", reason="unreachable")
            assert server.get("/readyz")[0] == 200
        fleet.path.unlink()
        with fleet.server() as server:
            server.wait_until_ready()
            model = server.get("/v1/model")[1]
            assert (model["state"], model["model_version"]) == ("stale", version(OLD))
            server.wait_for("s3_failed", reason="unreachable")
            store.start()
            asyncio.run(fleet.put(NEW))
            server.wait_until_serving(version(NEW))
            assert server.get("/v1/model")[1]["state"] == "ready"


def test_a_model_that_is_refused_is_downloaded_once(fleet: Fleet) -> None:
    """A rejected model stays at the path, is reported, and is not downloaded again, even after a restart."""
    asyncio.run(fleet.put(OLD))
    with fleet.server() as server:
        server.wait_until_serving(version(OLD))
        bad = asyncio.run(fleet.put(b"no model at all"))
        server.wait_for("rejected", reason="unknown_format")
        s3 = server.get("/v1/model")[1]["s3"]
        assert s3["served"]["sha256"].startswith(version(OLD))
        assert s3["latest"]["sha256"].startswith(bad)
    with fleet.server() as server:
        server.wait_until_ready()
        server.wait_until(lambda: server.get("/v1/model")[1]["s3"]["last_poll"])
        model = server.get("/v1/model")[1]
        assert (model["state"], model["model_version"]) == ("stale", version(OLD))
        assert model["s3"]["last_poll"]["outcome"] == "unchanged"
        assert not [event for event in server.events if event["event"] == "s3_downloading"]


async def test_a_kill_during_a_download_leaves_nothing(fleet: Fleet, proxy: FaultProxy) -> None:
    """Fault 37: the part that a killed server left is removed by the next, which fetches the whole."""
    await fleet.put(OLD)
    proxy.fail(Drip(10, 0.01), matching=MODEL)
    server = RunningServer(
        fleet.path,
        fleet.directory / "state",
        fleet.environment | {"AWS_ENDPOINT_URL": proxy.endpoint},
        s3_uri=fleet.uri,
    )
    try:
        await eventually(lambda: list(fleet.path.parent.glob(".*.part")), 60)
    finally:
        server.process.kill()
        await asyncio.to_thread(server.stop)
    assert list(fleet.path.parent.glob(".*.part"))
    with fleet.server() as after:
        await asyncio.to_thread(after.wait_until_serving, version(OLD))
    assert [path.name for path in fleet.path.parent.iterdir()] == [fleet.path.name]


@pytest.mark.parametrize("there_is_one", [True, False])
def test_training_waits_for_s3(fleet: Fleet, there_is_one: bool) -> None:
    """With ALS_TRAINING_DATA too, a model is trained only where S3 has none."""
    data = write_interactions(fleet.directory / "data.csv")
    if there_is_one:
        asyncio.run(fleet.put(OLD))
    with fleet.server(training_data=data) as server:
        server.wait_until_ready()
        trained = [event for event in server.events if event["event"] == "training"]
        assert bool(trained) != there_is_one
        assert (server.get("/v1/model")[1]["s3"]["served"] is not None) == there_is_one


def test_a_file_put_by_hand_is_served_until_s3_has_something_new(fleet: Fleet) -> None:
    """A file put at the path by an operator is served until the next publication in S3."""
    asyncio.run(fleet.put(OLD))
    by_hand = model_bytes(3)
    with fleet.server() as server:
        server.wait_until_serving(version(OLD))
        server.wait_until(lambda: server.get("/v1/model")[1]["s3"]["last_poll"]["outcome"] == "unchanged")
        put(fleet.path, by_hand)
        server.wait_until_serving(version(by_hand))
        assert server.get("/v1/model")[1]["s3"]["served"] is None
        asyncio.run(fleet.put(NEW))
        server.wait_until_serving(version(NEW))
