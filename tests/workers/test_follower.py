"""What a worker makes of the keeper's news: the same status, from the same files."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.errors import SnapshotDamagedError
from service.live.generation import Slot
from service.live.held import HeldVersions
from service.live.importing import import_in_child
from service.live.report import FallbackTraining, Following, Reload, Served, Training
from service.live.status import Status
from service.model.catalog.id_list import IdList, write_id_list
from service.model.rollout.arms import Experiment
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import FORMAT_VERSION
from service.model.storage.source import Signature, Source, identify, read_path
from service.observe.metrics import Metrics
from service.workers.follower import Follower
from service.workers.messages import Kept, News, Obeyed, line
from tests.support.helpers import Place, model_bytes, put
from tests.support.models import make_factors

SOURCE = Source("/list", Signature("/list", 1, 2, 3, 4, 5), "0" * 64)
NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)


def a_status() -> Status:
    """Return the status of a worker that has heard nothing yet."""
    slot = Slot(Metrics(CollectorRegistry()))
    return Status(slot, HeldVersions(slot, Shelf(Path("snapshots"), keep=0)), [], FallbackTraining())


async def imported(place: Place, seed: int = 0) -> Source:
    """Put a model at the path and import it."""
    put(place.path, model_bytes(seed))
    source = await asyncio.to_thread(identify, place.path)
    await import_in_child(source, place.shelf, place.limits)
    return source


def kept(place: Place, source: Source, number: int = 1, *, stale: bool = False) -> Kept:
    """Return a generation as the keeper tells of it."""
    return Kept(number, place.shelf.place_of(source), source, NOW, {"open": 0.5}, stale)


def listed(directory: Path, *ids: int) -> Path:
    """Return the directory of a list of ids."""
    path = directory / "list"
    path.mkdir()
    write_id_list(path, IdList(np.array(sorted(str(each).encode() for each in ids))), SOURCE)
    return path


def news(generation: Kept | None) -> News:
    """Return news of everything, as they come out of the pipe."""
    reload = Reload("rejected", "file_corrupt", "It is torn.", NOW, "aa", {"verify": 0.1})
    training = Training("running", "pairs.csv", NOW, "fitting", 3, 15)
    told = News(generation, [Served("bb", NOW)], [reload], training, Following("s3://models/als/"), draining=False)
    return msgspec.json.decode(line(told), type=News, dec_hook=read_path)


async def test_a_worker_tells_what_the_keeper_tells(place: Place) -> None:
    """All that handlers read is the same, and the model is mapped from the keeper's snapshot."""
    status, source = a_status(), await imported(place)
    told = news(kept(place, source))
    await Follower(status).take(told)
    assert status.slot.current is not None
    assert status.slot.current.snapshot.directory.name == f"{FORMAT_VERSION}-{source.version}"
    assert News.of(status, draining=False) == told


async def test_what_is_mapped_stays_mapped(place: Place) -> None:
    """News that are not of another model leave the arrays where they are."""
    status, source = a_status(), await imported(place)
    follower = Follower(status)
    await follower.take(news(kept(place, source)))
    assert (before := status.slot.current) is not None
    await follower.take(news(kept(place, source)))
    assert status.slot.current is before  # and what is cached with it
    await follower.take(news(kept(place, source, stale=True)))
    assert (after := status.slot.current) is not None
    assert after.stale
    assert after.snapshot is before.snapshot
    assert status.slot.metrics.registry.get_sample_value("als_model_snapshots_held") == 0


async def test_a_candidate_is_followed(place: Place) -> None:
    """With who gets it; what is mapped stays mapped as the percentage changes; once it is gone, so is its memory."""
    status, source, other = a_status(), await imported(place), await imported(place, 1)
    follower, registry = Follower(status), status.slot.metrics.registry

    def beside(percent: float) -> News:
        candidate = kept(place, other, 2), Experiment(percent=percent)
        return news(msgspec.structs.replace(kept(place, source), candidate=candidate))

    await follower.take(beside(50))
    assert News.of(status, draining=False) == beside(50)
    before = status.slot.current
    assert before
    assert before.candidate
    assert (before.candidate.generation.arm, before.candidate.experiment.percent) == ("candidate", 50)
    assert before.candidate.generation.version == other.version
    await follower.take(beside(60))
    after = status.slot.current
    assert after
    assert after.candidate
    assert after.candidate.experiment.percent == 60
    assert after.candidate.generation.snapshot is before.candidate.generation.snapshot
    assert after.snapshot is before.snapshot
    assert registry.get_sample_value("als_model_snapshots_held") == 0
    await follower.take(news(kept(place, source)))
    assert status.slot.current is not None
    assert status.slot.current.candidate is None
    assert registry.get_sample_value("als_model_snapshots_held") == 1  # this test has it
    del before, after
    gc.collect()
    assert registry.get_sample_value("als_model_snapshots_held") == 0


async def test_a_lost_candidate_leaves_the_served_model(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that cannot open the candidate answers everybody from the served model, and says so."""
    status, source = a_status(), await imported(place)
    lost = msgspec.structs.replace(kept(place, source, 2), snapshot=Path("/gone"))
    told = msgspec.structs.replace(kept(place, source), candidate=(lost, Experiment(percent=50)))
    await Follower(status).take(news(told))
    assert status.slot.current is not None
    assert status.slot.current.version == source.version
    assert status.slot.current.candidate is None
    assert "answers without the candidate" in caplog.text


async def test_a_policy_is_followed_with_the_model(place: Place, tmp_path: Path) -> None:
    """Its parts are mapped from the keeper's directories, not again with every news; an older model gets the new."""
    status, source = a_status(), await imported(place)
    follower, model = Follower(status), make_factors(users=20, items=30, pairs=60)
    ids = listed(tmp_path, model.item_ids[0], model.item_ids[1], model.user_ids[0])
    obeyed = Obeyed(None, ids, ids, ("unavailable", "hidden_users"), listed_only=False)
    await follower.take(msgspec.structs.replace(news(kept(place, source)), policy=obeyed))
    assert (before := status.slot.current) is not None
    unavailable = status.slot.policy.unavailable
    assert (before.assortment.unavailable_items, before.assortment.hidden_users) == (2, 1)
    await follower.take(msgspec.structs.replace(news(kept(place, source, 2)), policy=obeyed))
    assert status.slot.policy.unavailable is unavailable
    open_again = msgspec.structs.replace(obeyed, unavailable=None)
    await follower.take(msgspec.structs.replace(news(kept(place, source, 3)), policy=open_again))
    assert (after := status.slot.current) is not None
    assert (after.assortment.unavailable_items, after.assortment.hidden_users) == (0, 1)


async def test_what_is_missing_is_told(place: Place) -> None:
    """A worker that answers nothing yet can say why."""
    status = a_status()
    obeyed = Obeyed(None, None, None, ("unavailable",), listed_only=True)
    await Follower(status).take(msgspec.structs.replace(news(None), policy=obeyed))
    assert status.slot.policy.missing == ("ALS_UNAVAILABLE",)
    assert status.slot.policy.listed_only


async def test_a_snapshot_that_is_gone_leaves_the_one_before(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Its successor has taken its place on disk, and is the next news."""
    status, source = a_status(), await imported(place)
    follower = Follower(status)
    await follower.take(news(kept(place, source)))
    gone = msgspec.structs.replace(kept(place, source, 2), snapshot=Path("/gone"))
    await follower.take(news(gone))
    assert status.slot.current is not None
    assert status.slot.current.number == 1
    assert "keeps the previous model" in caplog.text


async def test_a_worker_without_any_does_not_begin_without(place: Place) -> None:
    """A new worker that cannot open the snapshot does not refuse requests that others can answer."""
    status, source = a_status(), await imported(place)
    with pytest.raises(SnapshotDamagedError):
        await Follower(status).take(news(msgspec.structs.replace(kept(place, source), snapshot=Path("/gone"))))


async def test_before_the_first_model_there_is_none() -> None:
    """A worker says so as well, with what the service waits for."""
    status = a_status()
    await Follower(status).take(news(None))
    assert status.slot.current is None
    assert status.training.is_running
