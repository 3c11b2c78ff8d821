"""Upgrade and downgrade: a version serves from what the one before it kept and published, and the other way round.

``tests/fixtures/states`` has what a version kept, one archive for each format of snapshots; ``make_state.py`` in
``tests/fixtures`` says what is in one, and made it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model.storage.snapshot import FORMAT_VERSION
from tests.fixtures.make_state import make
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed

STATES = Path(__file__).parents[1] / "fixtures" / "states"
KEPT = STATES / f"format-{FORMAT_VERSION}.zip"
#: Of earlier formats nothing but the files that were imported is read again.
EARLIER = sorted(archive for archive in STATES.glob("format-*.zip") if archive != KEPT)
#: The bucket that what is in the archives was published to.
BUCKET = "als-fixtures"
#: With so little memory no import succeeds.
NO_IMPORTS: dict[str, Any] = {"import_memory_mb": 1}
MODELS = {
    "followed/model.npz": ("ready", "/v1/users/user-3/recommendations"),
    "trained/model.npz": ("ready", "/v1/users/user-3/recommendations"),
    "trained/state/popularity.npz": ("limited", "/v1/items/popular"),
}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a directory with what the version before left."""
    shutil.unpack_archive(KEPT, tmp_path / "kept")
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Path:
    """Return a directory with what this version leaves, made as the version before made its own."""
    directory = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (seaweed.environment() | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
            patch.setenv(name, value)
        make(directory, asyncio.run(seaweed.make_bucket()))
    return directory


def until(server: RunningServer, state: str) -> Any:
    """Return what a server says of its model once that is in this state."""
    server.wait_until(lambda: server.get("/v1/model")[1].get("state") == state)
    return server.get("/v1/model")[1]


def snapshots(state: Path) -> dict[str, int]:
    """Return the snapshots of a state directory; an inode is another one where it was made anew."""
    return {str(found.relative_to(state)): found.stat().st_ino for found in state.glob("snapshots/*-*/")}


@pytest.mark.parametrize(("model", "state", "route"), [(model, *facts) for model, facts in MODELS.items()], ids=MODELS)
def test_a_model_that_was_imported_before_is_served_at_once(kept: Path, model: str, state: str, route: str) -> None:
    """After an upgrade the models that were kept are served without a new import."""
    directory = kept / Path(model).parts[0] / "state"
    before = snapshots(directory)
    with running_server(kept / model, directory, **NO_IMPORTS) as server:
        server.wait_for("reused", model_version=until(server, state)["model_version"])
        status, answer = server.get(f"{route}?n=5")
    assert (status, len(answer["items"])) == (200, 5)
    assert snapshots(directory) == before


@pytest.mark.parametrize("archive", EARLIER, ids=lambda archive: archive.stem)
def test_what_was_kept_in_an_earlier_format_is_imported_again(archive: Path, tmp_path: Path) -> None:
    """After an upgrade to another format the file at the path is imported, and what was kept of it is replaced."""
    shutil.unpack_archive(archive, tmp_path / "kept")
    path, directory = tmp_path / "kept" / "followed" / "model.npz", tmp_path / "kept" / "followed" / "state"
    before = snapshots(directory)
    with running_server(path, directory, items=tmp_path / "kept" / "titles.csv") as server:
        until(server, "ready")
        server.wait_for("catalog", count=20)
        assert "reused" not in [event["event"] for event in server.events]
        assert len(server.get("/v1/users/user-3/recommendations?n=5")[1]["items"]) == 5
        server.wait_until(lambda: not snapshots(directory).keys() & before.keys())
    assert len(snapshots(directory)) == len(before)


def test_what_was_fetched_before_is_not_fetched_again(kept: Path, seaweed: Seaweed) -> None:
    """After an upgrade the pointer of before is followed, and what came from S3 is remembered; no model is there."""
    path, directory = kept / "followed" / "model.npz", kept / "followed" / "state"
    uri = f"s3://{BUCKET}/models/"
    (memory,) = directory.glob("s3-*.json")
    # The name is made of what is followed and of the model path, which has been another one.
    mark = hashlib.sha256(f"{uri} {path}".encode()).hexdigest()[:8]
    memory.rename(directory / f"s3-{mark}.json")
    (remembered,) = json.loads((directory / f"s3-{mark}.json").read_bytes())["downloads"]
    asyncio.run(put_pointer(seaweed, (kept / "latest.json").read_bytes()))
    with running_server(
        path, directory, seaweed.environment(), s3_uri=uri, s3_poll_seconds=0.2, **NO_IMPORTS
    ) as server:
        server.wait_until(lambda: (server.get("/v1/model")[1].get("s3") or {}).get("last_success_at"))
        told = until(server, "ready")["s3"]
        assert told["last_poll"]["outcome"] == "unchanged"
        assert told["latest"] == told["served"] == remembered
        assert not [event for event in server.events if event["event"] in ("s3_failed", "s3_downloading")]


async def put_pointer(seaweed: Seaweed, pointer: bytes) -> None:
    """Make the bucket of the archive, with nothing but the pointer in it."""
    async with seaweed.client() as client:
        await client.create_bucket(Bucket=BUCKET)
        await client.put_object(Bucket=BUCKET, Key="models/latest.json", Body=pointer)


def make_newer(state: Path) -> None:
    """Turn what a state directory keeps into what a later version might have written."""
    for manifest in state.glob("snapshots/*/manifest.json"):
        facts = json.loads(manifest.read_bytes())
        facts |= {"format_version": FORMAT_VERSION + 1, "unheard_of": {"users": "otherwise"}}
        manifest.write_bytes(json.dumps(facts).encode())
        version = manifest.parent.name.removeprefix(f"{FORMAT_VERSION}-")
        manifest.parent.rename(manifest.parent.with_name(f"{FORMAT_VERSION + 1}-{version}"))


def test_what_a_later_version_wrote_is_imported_again(kept: Path) -> None:
    """After a downgrade the file at the path is imported, and what the later version kept is left to it."""
    path, directory = kept / "followed" / "model.npz", kept / "followed" / "state"
    make_newer(directory)
    later = snapshots(directory)
    with running_server(path, directory, items=kept / "titles.csv") as server:
        until(server, "ready")
        server.wait_for("catalog", count=20)
        assert "reused" not in [event["event"] for event in server.events]
    found = snapshots(directory)
    assert later.items() <= found.items()
    ours = {place.replace(f"/{FORMAT_VERSION + 1}-", f"/{FORMAT_VERSION}-") for place in later}
    assert found.keys() == later.keys() | ours


def test_what_a_later_version_wrote_is_never_served(kept: Path) -> None:
    """After a downgrade without a model file nothing is served, rather than what may be read wrongly."""
    path, directory = kept / "followed" / "model.npz", kept / "followed" / "state"
    make_newer(directory)
    path.unlink()
    with running_server(path, directory) as server:
        server.wait_for("waiting")
        assert server.get("/readyz")[0] == 503
        assert server.get("/v1/users/user-3/recommendations")[0] == 503


def test_the_version_before_understands_what_this_one_keeps(kept: Path, written: Path) -> None:
    """Of one format, a manifest, a pointer and a memory have all that was in them before, and of the same kinds.

    More may be in them, for an unknown field is skipped. Otherwise another ``FORMAT_VERSION`` is due, with its archive.
    """
    before, now = documents(kept), documents(written)
    assert now.keys() == before.keys()
    for name, document in before.items():
        assert not lacking(document, now[name]), name


def test_the_version_before_reads_the_arrays_of_this_one(kept: Path, written: Path) -> None:
    """Of one format, the arrays of a snapshot and of a model file have the names, types and dimensions of before."""
    assert arrays(written) == arrays(kept)


def documents(directory: Path) -> dict[str, Any]:
    """Return all that is JSON, by what it is of; which versions of models there are is another matter every time."""
    found = {f"{path.parts[-4]} {kind(path)}": path for path in directory.glob("*/state/snapshots/*/manifest.json")}
    found |= {"memory": next(directory.glob("followed/state/s3-*.json")), "pointer": directory / "latest.json"}
    return {name: json.loads(path.read_bytes()) for name, path in found.items()}


def kind(path: Path) -> str:
    """Return where a manifest stands, with the format, and whether it is of popularity alone."""
    facts = json.loads(path.read_bytes())
    limited = " limited" if facts.get("factors") == 0 else ""
    return f"{path.parts[-3]} {path.parts[-2].split('-')[0]}{limited}"


def lacking(before: Any, now: Any, place: str = "") -> list[str]:
    """Return the places in a document where there is not what there was before, or something of another kind."""
    if isinstance(before, dict) and isinstance(now, dict):
        missing = [f"{place}/{key}" for key in before.keys() - now.keys()]
        both = before.keys() & now.keys()
        return missing + [found for key in sorted(both) for found in lacking(before[key], now[key], f"{place}/{key}")]
    if isinstance(before, list) and isinstance(now, list):
        pairs = zip(before, now, strict=False)
        return [found for one, other in pairs for found in lacking(one, other, f"{place}[]")]
    if isinstance(before, float | int) and isinstance(now, float | int) and not isinstance(before, bool):
        return []
    return [] if type(before) is type(now) else [place]


def arrays(directory: Path) -> dict[str, tuple[str, int]]:
    """Return the kind and size of the elements, and the dimensions, of each array of snapshots and model files."""
    found: dict[str, tuple[str, int]] = {}
    for path in directory.glob("*/state/snapshots/*/*.npy"):
        array = np.load(path)
        found[f"{path.parts[-5]} {kind(path.with_name('manifest.json'))} {path.name}"] = described(array)
    for path in [*directory.glob("*/model.npz"), *directory.glob("*/state/*.npz")]:
        with np.load(path) as model:
            found |= {f"{path.relative_to(directory)} {name}": described(model[name]) for name in model.files}
    return found


def described(array: np.ndarray[Any, Any]) -> tuple[str, int]:
    """Return the kind and size of an array's elements, of text the kind alone, and its dimensions."""
    return array.dtype.kind if array.dtype.kind in "SU" else array.dtype.str, array.ndim
