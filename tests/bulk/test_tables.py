"""Lists as tables of Arrow, as an engine such as Spark asks for them: batch after batch, in the same process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from service.bulk import lists, tables
from service.bulk.lists import Wanted
from service.bulk.tables import recommended
from service.model.ids import IdKind
from service.model.scoring.scoring import recommend
from service.model.storage.snapshot import Snapshot, open_snapshot
from tests.support.helpers import Place, model_bytes
from tests.support.models import make_factors


async def snapshot_of(place: Place, ids: IdKind = "int") -> Path:
    """Import a model, and return the directory of its snapshot."""
    place.path.write_bytes(model_bytes(factors=make_factors(users=50, ids=ids)))
    return (await place.store().load()).directory


def batch(*places: int) -> pa.RecordBatch:
    """Return places of users as Spark gives them out."""
    return pa.record_batch({"id": pa.array(places, pa.int64())})


@pytest.mark.parametrize("ids", ["int", "str"])
async def test_each_user_of_each_batch_has_a_row(place: Place, monkeypatch: pytest.MonkeyPatch, ids: IdKind) -> None:
    """In the order of the batches, however many lists are in memory at once; a batch may be empty."""
    monkeypatch.setattr(lists, "_ENTRIES_PER_PART", 10)
    directory = await snapshot_of(place, ids)
    asked = [3, 1, 2, 40]
    batches = [batch(0, 1, 2), batch(), batch(3)]
    found = pa.Table.from_batches(recommended(directory, np.array(asked, np.int32), Wanted(5), batches)).to_pylist()
    model = open_snapshot(directory).model
    best = [recommend(model, user, 5) for user in asked]
    assert [row["user_id"] for row in found] == model.user_ids.at(np.array(asked))
    assert [[item["item_id"] for item in row["items"]] for row in found] == [
        model.item_ids.at(each.rows) for each in best
    ]
    assert [[item["score"] for item in row["items"]] for row in found] == [each.scores.tolist() for each in best]
    assert {row["strategy"] for row in found} == {"als"}


async def test_a_process_opens_a_snapshot_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of Spark runs many tasks, and each is a call."""
    directory, opened = await snapshot_of(place), list[Path]()

    def noted(path: Path) -> Snapshot:
        opened.append(path)
        return open_snapshot(path)

    monkeypatch.setattr(tables, "open_snapshot", noted)
    for user in range(3):
        assert len(list(recommended(directory, np.arange(50, dtype=np.int32), Wanted(5), [batch(user)]))) == 1
    assert opened == [directory]
