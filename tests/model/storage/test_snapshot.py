"""A snapshot on disk: what was written is what is mapped, and damage is found before it is served."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import SnapshotDamagedError
from service.model.arranging import arrange
from service.model.factors import Factors
from service.model.model import Model
from service.model.scoring import costs, score_ranges
from service.model.storage import layout, snapshot
from service.model.storage.snapshot import Analysis, Snapshot
from service.model.storage.source import Signature, Source
from tests.support.models import make_factors

SOURCE = Source("/models/m.npz", Signature("/models/m.npz", 1, 2, 3, 4, 5), "ab" * 32)


def write(directory: Path, factors: Factors) -> Model:
    """Write a model into a new directory."""
    directory.mkdir(parents=True)
    model = arrange(factors)
    analysis = Analysis(score_ranges.analyse(model), costs.measure(model))
    snapshot.write(directory, model, analysis, SOURCE, "npz", {"read": 1.5})
    return model


def assert_equal(one: object, other: object) -> None:
    """Compare two models, part by part, to the last bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif is_dataclass(one):
        assert type(one) is type(other)
        for part in fields(one):
            assert_equal(getattr(one, part.name), getattr(other, part.name))
    else:
        assert one == other


@pytest.mark.parametrize(
    "factors",
    [
        make_factors(),
        make_factors(ids="str", activity_discount=0.25),
        make_factors(pairs=None),
        make_factors(pairs=0),
        make_factors(users=1, items=1, factors=1, pairs=1),
    ],
    ids=["numbers", "text", "no seen items", "an empty seen matrix", "one of each"],
)
def test_what_was_written_is_what_opens(tmp_path: Path, factors: Factors) -> None:
    """Every array and number comes back to the last bit, as read-only views of mapped files."""
    written = write(tmp_path / "s", factors)
    opened = snapshot.open_snapshot(tmp_path / "s")
    snapshot.warm(opened)
    snapshot.verify(opened.directory)
    assert_equal(opened.model, written)
    assert type(opened.model.item_factors) is np.ndarray
    assert not opened.model.item_factors.flags.writeable


def test_the_manifest_says_what_it_holds(tmp_path: Path) -> None:
    """Counts, source, seconds and the size of every file."""
    write(tmp_path / "s", make_factors(ids="str"))
    opened = snapshot.open_snapshot(tmp_path / "s")
    manifest = opened.manifest
    assert (manifest.users, manifest.items, manifest.factors) == (40, 60, 4)
    assert (manifest.user_id_kind, manifest.item_id_kind, manifest.source_format) == ("str", "str", "npz")
    assert (manifest.source, opened.version) == (SOURCE, "ab" * 8)
    assert list(manifest.seconds) == ["read", "write"]
    assert manifest.bytes == sum(file.stat().st_size for file in (tmp_path / "s").glob("*.npy"))
    assert opened.model.seen
    assert manifest.seen_pairs == len(opened.model.seen.items)


def test_a_mapped_snapshot_outlives_its_directory(tmp_path: Path) -> None:
    """Tidied away by another process, an opened snapshot answers on."""
    written = write(tmp_path / "s", make_factors())
    opened = snapshot.open_snapshot(tmp_path / "s")
    for file in (tmp_path / "s").iterdir():
        file.unlink()
    (tmp_path / "s").rmdir()
    assert_equal(opened.model, written)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a good snapshot's directory."""
    write(tmp_path / "s", make_factors())
    return tmp_path / "s"


def refused(directory: Path) -> str:
    """Open a damaged snapshot and return what is said of it."""
    with pytest.raises(SnapshotDamagedError, match=r"delete the directory\.$") as caught:
        snapshot.open_snapshot(directory)
    gc.collect()
    return str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 100, 300])
def test_a_file_of_another_size_is_damage(directory: Path, cut: int) -> None:
    """Every file's size is compared when a snapshot is opened."""
    file = directory / "user_factors.npy"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:cut])
    assert f"{file} has {cut} bytes instead of {size}" in refused(directory)


def test_a_missing_file_is_damage(directory: Path) -> None:
    """A file that the manifest names and the directory lacks."""
    (directory / "item_gram.npy").unlink()
    assert "item_gram.npy is missing" in refused(directory)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"{}", b"\xff", b'{"format_version": "x"}', b'{"source_format": "\xff"}', b'{"users": 1e999}'),
        *(b'{"x":' + b"[" * 100_000, b"[" * 2**21, b'{"files": {"\\ud800": 1}}'),
    ],
)
def test_a_damaged_manifest_is_damage(directory: Path, content: bytes) -> None:
    """Whatever stands in the manifest's place."""
    (directory / snapshot.MANIFEST).write_bytes(content)
    assert str(directory / snapshot.MANIFEST) in refused(directory)


def test_a_manifest_without_an_array_is_damage(directory: Path) -> None:
    """An array that a model needs and no entry names."""
    manifest = directory / snapshot.MANIFEST
    manifest.write_text(manifest.read_text().replace('"item_norms.npy"', '"another.npy"'))
    (directory / "item_norms.npy").rename(directory / "another.npy")
    assert "lacks or should not have another.npy, item_norms.npy" in refused(directory)


def test_a_damaged_header_never_opens_as_another_array(directory: Path) -> None:
    """Any flipped bit of an array's header is damage, or leaves an array that is read within its file."""
    file = directory / "item_norms.npy"
    good, expected = file.read_bytes(), snapshot.open_snapshot(directory).model.item_norms.shape
    for bit in range(128 * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.unlink()
        file.write_bytes(bad)
        try:
            found = snapshot.open_snapshot(directory).model.item_norms
        except SnapshotDamagedError:
            continue
        assert (found.shape, found.itemsize) == (expected, 4), f"bit {bit}"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("item_codes.npy", lambda array: array.view(np.uint8)),
        ("item_codes.npy", lambda array: array.reshape(2 * len(array), -1)),
        ("item_steps.npy", lambda array: array.view(np.int32)),
        ("item_norms.npy", lambda array: array[:, None]),
        ("item_factors.npy", np.asfortranarray),
        ("user_factors.npy", lambda array: array.view(">f4")),
        ("seen_indptr.npy", lambda array: array[None]),
        ("seen_items.npy", lambda array: array.view(np.float32)),
        ("user_ids.npy", lambda array: array[0]),
        ("item_ids.npy", lambda array: array.astype("S8")),
        ("item_sorter.npy", lambda array: array.astype(np.int32)),
        ("item_gram.npy", lambda array: array[0]),
        ("item_weights.npy", lambda array: array.astype(np.float64)),
        ("seen_weights.npy", lambda array: array[1:]),
        ("popularity.npy", lambda array: array[0]),
        ("popularity_order.npy", lambda array: array.astype(np.int64)),
    ],
)
def test_an_array_of_another_layout_is_damage(
    directory: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    """What the kernel reads by its address has the type, the shape and the order that the manifest says."""
    replace_array(directory, name, change(np.load(directory / name)))
    assert f"{directory / name} has " in refused(directory)


def replace_array(directory: Path, name: str, array: NDArray[Any]) -> None:
    """Replace an array of a snapshot, of which the manifest has the new size."""
    size = (directory / name).stat().st_size
    (directory / name).unlink()
    np.save(directory / name, array)
    manifest = directory / snapshot.MANIFEST
    facts = f'"{name}": {{\n      "bytes": '
    assert f"{facts}{size}" in manifest.read_text()
    new_size = (directory / name).stat().st_size
    manifest.write_text(manifest.read_text().replace(f"{facts}{size}", f"{facts}{new_size}"))


@pytest.mark.parametrize("number", [-1, 60, 2**31 - 1])
@pytest.mark.parametrize("name", ["item_sorter.npy", "seen_items.npy", "popularity_order.npy"])
def test_an_index_beyond_the_rows_is_damage(directory: Path, name: str, number: int) -> None:
    """Of the right size, type and shape, and yet no query may read there."""
    array = np.load(directory / name)
    array[len(array) // 2] = number
    replace_array(directory, name, array)
    assert f"{directory / name} refers to rows beyond 59" in refused(directory)


@pytest.mark.parametrize("place", [0, -1])
def test_the_ends_of_a_long_array_are_checked(directory: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Opening takes no longer the more pairs there are, and still looks at both ends."""
    monkeypatch.setattr(layout, "_MOST_CHECKED", 20)
    monkeypatch.setattr(layout, "_PARTS", 2)
    monkeypatch.setattr(layout, "_PART", 4)
    snapshot.open_snapshot(directory)
    array = np.load(directory / "seen_items.npy")
    array[place] = 60
    replace_array(directory, "seen_items.npy", array)
    assert "refers to rows beyond 59" in refused(directory)


@pytest.mark.parametrize(("place", "number"), [(0, 1), (20, -(2**63)), (20, 2**63 - 1), (40, 0)])
def test_an_indptr_that_does_not_ascend_is_damage(directory: Path, place: int, number: int) -> None:
    """Every user's seen items are a part of all."""
    array = np.load(directory / "seen_indptr.npy")
    array[place] = number
    replace_array(directory, "seen_indptr.npy", array)
    assert "does not ascend" in refused(directory)


@pytest.mark.parametrize("name", ["../elsewhere.npy", "/etc/passwd", ""])
def test_a_name_of_another_place_is_damage(directory: Path, name: str) -> None:
    """Only the files of the directory are opened."""
    manifest = directory / snapshot.MANIFEST
    manifest.write_text(manifest.read_text().replace('"item_norms.npy"', f'"{name}"'))
    assert "lacks or should not have" in refused(directory)


def test_an_archive_in_place_of_an_array_is_damage(directory: Path) -> None:
    """NumPy would open it as something else."""
    file = directory / "item_norms.npy"
    size = file.stat().st_size
    np.savez(directory / "made.npz", a=np.zeros(0))
    file.write_bytes((directory / "made.npz").read_bytes()[:size].ljust(size, b"\0"))
    assert "item_norms.npy has a damaged header" in refused(directory)


def test_a_rho_that_is_none_is_damage(directory: Path) -> None:
    """The bound on what the codes lack is a number from 0 on."""
    manifest = directory / snapshot.MANIFEST
    manifest.write_text(re.sub(r'"rho": [^,]+', '"rho": -1.0', manifest.read_text()))
    assert str(manifest) in refused(directory)


def test_a_flipped_bit_is_found_by_verify(directory: Path) -> None:
    """The size is right, so it opens; the sha256 tells."""
    file = directory / "item_factors.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert isinstance(snapshot.open_snapshot(directory), Snapshot)
    with pytest.raises(SnapshotDamagedError, match=f"^{file} is not what was written"):
        snapshot.verify(directory)
    file.unlink()
    with pytest.raises(SnapshotDamagedError, match=f"^{file} is not what was written"):
        snapshot.verify(directory)


def test_what_was_published_first_stays(tmp_path: Path) -> None:
    """Two processes publish the same source: the first one's directory stays, the second raises nothing."""
    for name in ("first", "second"):
        write(tmp_path / name, make_factors())
    snapshot.publish(tmp_path / "first", tmp_path / "s")
    inode = (tmp_path / "s").stat().st_ino
    snapshot.publish(tmp_path / "second", tmp_path / "s")
    assert (tmp_path / "s").stat().st_ino == inode
    assert (tmp_path / "second").exists(), "its stager removes it"


def test_publishing_onto_something_else_is_an_error(tmp_path: Path) -> None:
    """A directory in the way that is not a snapshot is an error."""
    write(tmp_path / "staged", make_factors())
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "something").touch()
    with pytest.raises(OSError, match="not empty"):
        snapshot.publish(tmp_path / "staged", tmp_path / "s")
