"""Pickles: what implicit and NumPy wrote, in any version, is read to the last bit, and nothing else is."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tarfile
from collections import OrderedDict, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model.raw import RawModel, RawSeen
from service.model.validation.validation import validate
from tests.support.pickles import make_model, pickled, read_bytes

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "pickles").glob("*.tar.xz"))
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@cache
def unpacked(path: Path) -> dict[str, bytes]:
    """Return the members of a fixture archive."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # all files


def fixture_pickles() -> list[Any]:
    """List every pickle of every archive."""
    return [
        pytest.param(path, name, id=f"{path.name.removesuffix('.tar.xz')}-{name}")
        for path in FIXTURES
        for name in unpacked(path)
        if name.endswith(".pickle")
    ]


def dense(seen: RawSeen) -> NDArray[Any]:
    """Let scipy itself say what a seen matrix holds."""
    matrix: Any
    if seen.layout == "coo":
        assert seen.weights is not None
        assert seen.row is not None
        assert seen.col is not None
        matrix = scipy.sparse.coo_matrix((seen.weights, (seen.row, seen.col)), shape=seen.shape)
    else:
        kind = {"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix}[seen.layout]
        matrix = kind((seen.weights, seen.indices, seen.indptr), shape=seen.shape)
    return np.asarray(matrix.todense())


def as_list(ids: Any) -> list[Any]:
    """Return ids by row, from a mapping row -> id, a list or an array."""
    if isinstance(ids, dict):
        assert list(ids) == list(range(len(ids)))
        assert all(type(row) is int for row in ids)
        return list(ids.values())
    listed: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    return listed


def given_ids(raw: RawModel) -> tuple[list[Any], list[Any]]:
    """Return the ids of users and items by row, from whichever direction the pickle has."""
    users, items = raw.user_ids, raw.item_ids
    if users is None or items is None:
        assert raw.reverse_user_ids is not None
        assert raw.reverse_item_ids is not None
        users = {row: each for each, row in raw.reverse_user_ids.items()}
        items = {row: each for each, row in raw.reverse_item_ids.items()}
    return as_list(users), as_list(items)


def expected_ids(variant: str, expected: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Say which ids a variant of ``make_pickles.py`` has."""
    users, items = {
        "int": ("int", "int"),
        "str": ("str", "str"),
        "numpy-int": ("int", "int"),
        "numpy-str": ("str", "str"),
        "list": ("int", "str"),
        "array": ("int", "str"),
        "object": ("str", "int"),
        "reverse": ("str", "str"),
    }[variant]
    return expected[users][0], expected[items][1]


def test_there_are_fixtures_of_old_and_new_versions() -> None:
    """Versions 0.4 to 0.7 of implicit and NumPy 1 and 2 are covered, at every protocol from 0."""
    names = [path.name for path in FIXTURES]
    assert {name.split("-")[1][:3] for name in names} == {"0.4", "0.5", "0.6", "0.7"}
    assert {name.split("-")[3][0] for name in names} == {"1", "2"}
    assert len(fixture_pickles()) == 8 * 6 * len(FIXTURES)


@pytest.mark.parametrize(("path", "name"), fixture_pickles())
def test_a_real_pickle_is_read_to_the_last_bit(path: Path, name: str) -> None:
    """Whatever version, protocol, kind of ids and layout: factors, ids, weights and parameters are those saved."""
    expected = json.loads(unpacked(path)["expected.json"])
    raw = read_bytes(unpacked(path)[name])
    for factors, component in ((raw.user_factors, "user_factors"), (raw.item_factors, "item_factors")):
        assert isinstance(factors, np.ndarray)
        assert factors.dtype == np.float32
        np.testing.assert_array_equal(factors, np.array(expected[component], np.float32))
    assert given_ids(raw) == expected_ids(name.rsplit("-", 2)[0], expected)
    assert (raw.regularization, raw.alpha) == (expected["regularization"], expected["alpha"])
    assert raw.missing == ()
    validate(raw)
    if "object" in name:
        assert raw.seen is None
    else:
        assert raw.seen is not None
        rows, columns, weights = expected["seen"]
        np.testing.assert_array_equal(
            dense(raw.seen), scipy.sparse.coo_matrix((weights, (rows, columns)), shape=(12, 9)).toarray()
        )
        assert raw.seen.layout == name.split("-protocol")[0].rsplit("-", 1)[1]


def test_ids_are_plain_python() -> None:
    """Numbers and text of NumPy come out as int and str, so that no gate has to know NumPy's."""
    ids = {np.int64(0): np.str_("é\U0001f600"), np.int32(1): np.str_(""), 2: np.int64(-5)}
    raw = read_bytes(pickled(user_id_map=ids))
    assert raw.user_ids == {0: "é\U0001f600", 1: "", 2: -5}
    assert isinstance(raw.user_ids, dict)
    assert [type(value) for pair in raw.user_ids.items() for value in pair] == [int, str, int, str, int, int]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "extra",
    [
        np.random.RandomState(3),
        np.random.default_rng(3),
        np.random.PCG64(3),
        np.float64(1.5),
        np.bool_(True),
        np.array([True, False]),
        np.array(["2020-01-01", None], object),
        np.zeros((0, 3)),
        np.bytes_(b"ab"),
        np.dtype("f4"),
        np.float32,
        defaultdict(int, a=1),
        OrderedDict(a=1),
        {1, 2},
        frozenset("a"),
        bytearray(b"a"),
        bytearray(),
        b"",
        b"\xff",
        1j.imag,
        2**200,
        [None, True, (1, (2, 3))],
    ],
    ids=lambda extra: type(extra).__name__,
)
def test_plain_data_beside_the_model_is_no_obstacle(extra: object, protocol: int) -> None:
    """A key that we do not know, and a random state of any kind, are read past."""
    model = make_model()
    model.random_state = extra
    raw = read_bytes(pickled(protocol, model=model, extra=extra))
    np.testing.assert_array_equal(np.asarray(raw.user_factors), model.user_factors)


READ_ALL = """
import io, sys, tarfile
from pathlib import Path
from service.model.formats.reading import read
for archive in map(tarfile.open, sys.argv[1:]):
    for member in archive:
        if not member.name.endswith(".json"):
            read(Path(member.name), io.BytesIO(archive.extractfile(member).read()))
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"implicit", "scipy", "numpy", "pandas"}))
"""


def test_reading_loads_neither_implicit_nor_scipy() -> None:
    """Every fixture is read in a process that ends without either library: no real class was ever there."""
    answer = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, FIXTURES)], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "['numpy']\n"


IDS = st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def factors_of(rows: int) -> st.SearchStrategy[NDArray[Any]]:
    """Draw factors of one of the float types, in C or Fortran order, in either byte order."""
    return st.builds(
        lambda seed, dtype, order: np.array(np.random.default_rng(seed).normal(size=(rows, 3)), dtype, order=order),
        st.integers(0, 2**32),
        st.sampled_from(["<f2", "<f4", "<f8", ">f4"]),
        st.sampled_from(["C", "F"]),
    )


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    users=st.lists(IDS, min_size=1, max_size=6, unique=True),
    items=st.lists(IDS, min_size=1, max_size=6, unique=True),
    protocol=st.sampled_from(PROTOCOLS),
)
def test_any_model_goes_through_a_pickle_unchanged(
    data: st.DataObject, users: list[int | str], items: list[int | str], protocol: int
) -> None:
    """Whatever ids, float type, order and protocol: what implicit held is what is read."""
    model = make_model()
    model.user_factors = data.draw(factors_of(len(users)))
    model.item_factors = data.draw(factors_of(len(items)))
    reverse = {each: row for row, each in enumerate(items)}
    raw = read_bytes(
        pickled(
            protocol,
            model=model,
            user_id_map=dict(enumerate(users)),
            product_id_map=None,
            reverse_product_id_map=reverse,
        )
    )
    for found, kept in ((raw.user_factors, model.user_factors), (raw.item_factors, model.item_factors)):
        assert isinstance(found, np.ndarray)
        assert found.dtype.isnative
        assert found.dtype == kept.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, kept)
    assert raw.user_ids == dict(enumerate(users))
    assert raw.reverse_item_ids == reverse
