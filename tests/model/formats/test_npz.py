"""Archives of als-serve, implicit and np.savez are read to the last bit."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from service.errors import BadIdsError
from service.model.formats.reading import read
from service.model.raw import RawModel
from service.model.validation.validation import validate
from tests.support.pickles import make_model

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "pickles").glob("*.tar.xz"))


def read_bytes(content: bytes) -> RawModel:
    """Read a file's content."""
    return read(Path("model.npz"), io.BytesIO(content))


def saved(*, compressed: bool = False, **arrays: Any) -> bytes:
    """Save arrays, with good factors of 2 x 3 and 4 x 3 where none are given."""
    packed = io.BytesIO()
    good = {"user_factors": np.ones((2, 3), np.float32), "item_factors": np.ones((4, 3), np.float32)}
    (np.savez_compressed if compressed else np.savez)(packed, **(good | arrays))
    return packed.getvalue()


def archived(path: Path, name: str) -> bytes | None:
    """Return a member of a fixture archive, None where it has none."""
    with tarfile.open(path) as archive:
        member = archive.extractfile(name) if name in archive.getnames() else None
        return member.read() if member else None


def test_what_implicit_saved_is_served_as_it_is() -> None:
    """``model.save`` of every version that has it: factors and parameters are those saved, ids are row numbers."""
    versions = 0
    for path in FIXTURES:
        content, expected = archived(path, "model.npz"), json.loads(archived(path, "expected.json") or b"")
        if content is None:
            continue
        versions += 1
        raw = read_bytes(content)
        np.testing.assert_array_equal(np.asarray(raw.user_factors), np.array(expected["user_factors"], np.float32))
        np.testing.assert_array_equal(np.asarray(raw.item_factors), np.array(expected["item_factors"], np.float32))
        assert (raw.regularization, raw.alpha) == (expected["regularization"], expected["alpha"])
        assert (raw.user_ids, raw.item_ids, raw.seen, raw.missing) == (None, None, None, ())
        assert validate(raw).user_ids.tolist() == list(range(12))
    assert versions >= 3


@pytest.mark.parametrize("state", [None, 3, np.random.RandomState(3)], ids=["none", "int", "RandomState"])
def test_whatever_random_state_implicit_saved_is_not_read(state: object) -> None:
    """A random state is an array of objects there, which is known and never opened."""
    model: AlternatingLeastSquares = make_model()
    model.random_state = state
    packed = io.BytesIO()
    model.save(packed)
    np.testing.assert_array_equal(np.asarray(read_bytes(packed.getvalue()).user_factors), model.user_factors)


def test_seen_items_are_compressed_rows() -> None:
    """The three arrays of what users had arrive as a csr matrix without a shape, weights if there are any."""
    indptr, indices, weights = np.array([0, 1, 2]), np.array([3, 0], np.int32), np.array([1.5, 2.5])
    raw = read_bytes(saved(seen_indptr=indptr, seen_indices=indices, seen_weights=weights))
    assert raw.seen is not None
    assert (raw.seen.layout, raw.seen.shape, raw.missing) == ("csr", None, ())
    for found, kept in ((raw.seen.indptr, indptr), (raw.seen.indices, indices), (raw.seen.weights, weights)):
        assert found is not None
        assert found.dtype == kept.dtype
        np.testing.assert_array_equal(found, kept)
    without = read_bytes(saved(seen_indptr=indptr, seen_indices=indices)).seen
    assert without is not None
    assert without.weights is None


def test_ids_as_bytes_are_text() -> None:
    """Fixed-width bytes are read as UTF-8."""
    ids = np.array(["ä", "user"])
    raw = read_bytes(saved(user_ids=np.char.encode(ids, "utf-8")))
    assert isinstance(raw.user_ids, np.ndarray)
    assert raw.user_ids.tolist() == ids.tolist()


def test_parameters_are_plain_numbers() -> None:
    """The scalar arrays of savez become Python's numbers."""
    raw = read_bytes(saved(regularization=np.float32(0.5), alpha=3))
    assert (raw.regularization, raw.alpha) == (0.5, 3)
    assert (type(raw.regularization), type(raw.alpha)) == (float, int)


def test_an_empty_array_is_left_to_the_gate() -> None:
    """No rows is a shape, not damage."""
    raw = read_bytes(saved(user_factors=np.zeros((0, 3))))
    assert np.asarray(raw.user_factors).shape == (0, 3)


FACTORS = st.builds(
    lambda seed, rows, dtype, order: np.array(np.random.default_rng(seed).normal(size=(rows, 3)), dtype, order=order),
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.sampled_from(["<f2", "<f4", "<f8", ">f4", ">f8"]),
    st.sampled_from(["C", "F"]),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
IDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1) | st.lists(TEXT, min_size=1)


@settings(max_examples=60, deadline=None)
@given(users=FACTORS, items=FACTORS, user_ids=IDS, item_ids=IDS, compressed=st.booleans())
def test_any_model_goes_through_an_archive_unchanged(
    users: NDArray[Any], items: NDArray[Any], user_ids: list[Any], item_ids: list[Any], compressed: bool
) -> None:
    """Whatever ids, float type, byte order and layout: what np.savez was given is what is read."""
    raw = read_bytes(
        saved(user_factors=users, item_factors=items, user_ids=user_ids, item_ids=item_ids, compressed=compressed)
    )
    for found, kept in ((raw.user_factors, users), (raw.item_factors, items)):
        assert isinstance(found, np.ndarray)
        assert found.dtype.isnative
        assert found.dtype == kept.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, kept)
    for ids, known in ((raw.user_ids, user_ids), (raw.item_ids, item_ids)):
        assert isinstance(ids, np.ndarray)
        assert ids.tolist() == known


@pytest.mark.parametrize("ids", [np.array("ann"), np.array([["ann", "bob"]])], ids=["one", "a matrix"])
def test_ids_are_one_after_the_other(ids: NDArray[Any]) -> None:
    """Ids in any other arrangement are refused."""
    content = saved(user_factors=np.ones((2, 2)), item_factors=np.ones((3, 2)), user_ids=ids)
    with pytest.raises(BadIdsError, match=f"^user_ids has {ids.ndim} dimensions; it must be a flat list of ids\\.$"):
        read_bytes(content)
