"""Validation: each bad model is refused with one exact message, each good one keeps every number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.errors import (
    BadDtypeError,
    BadIdsError,
    BadSeenMatrixError,
    BadShapeError,
    MissingComponentsError,
    ModelRejectedError,
    NotFiniteError,
)
from service.model.raw import RawModel, RawSeen
from service.model.validation.validation import validate

USERS, ITEMS, FACTORS = 3, 4, 2


def raw_model(**changes: Any) -> RawModel:
    """Return a good model of 3 users, 4 items and 2 factors, with some components changed."""
    good: dict[str, Any] = {
        "format": "npz",
        "user_factors": np.arange(6, dtype=np.float32).reshape(USERS, FACTORS),
        "item_factors": np.arange(8, dtype=np.float32).reshape(ITEMS, FACTORS),
        "user_ids": {0: "ann", 1: "bob", 2: "cid"},
        "item_ids": {0: 10, 1: 11, 2: 12, 3: 13},
        "seen": seen("csr", indptr=[0, 1, 3, 3], indices=[2, 0, 1]),
        "names": {"user_ids": "user_id_map", "reverse_user_ids": "reverse_user_id_map", "seen": "sparse_matrix"},
    }
    return RawModel(**(good | changes))


def seen(layout: str, shape: tuple[int, ...] | None = (USERS, ITEMS), **arrays: Any) -> RawSeen:
    """Return a seen matrix as read, its arrays given as lists."""
    weights = arrays.pop("weights", None)
    return RawSeen(
        layout,
        shape,
        None if weights is None else np.asarray(weights),
        **{name: np.asarray(values) for name, values in arrays.items()},
    )


def with_number(component: str, row: int, value: float) -> Callable[[], RawModel]:
    """Return a maker of a model with one factor replaced."""

    def make() -> RawModel:
        raw = raw_model()
        matrix: NDArray[Any] = getattr(raw, component)
        matrix[row, 1] = value
        return raw

    return make


MISSING = "Model file is missing required components: "
REFUSED: dict[str, tuple[Callable[[], RawModel], type[ModelRejectedError], str]] = {
    "nothing there": (
        lambda: raw_model(missing=("model", "user_id_map")),
        MissingComponentsError,
        MISSING + "['model', 'user_id_map']",
    ),
    "never fitted": (
        lambda: raw_model(user_factors=None),
        BadShapeError,
        "user_factors is None: the model was never fitted; call model.fit() before saving it.",
    ),
    "factors are text": (
        lambda: raw_model(item_factors="abc"),
        BadDtypeError,
        "item_factors is a str, not an array of numbers.",
    ),
    "one dimension": (
        lambda: raw_model(user_factors=np.zeros(3, np.float32)),
        BadShapeError,
        "user_factors has 1 dimension(s) instead of 2 (rows x factors).",
    ),
    "no rows": (
        lambda: raw_model(item_factors=np.zeros((0, 2), np.float32)),
        BadShapeError,
        "item_factors is empty: 0 rows x 2 factors.",
    ),
    "no factors": (
        lambda: raw_model(user_factors=np.zeros((3, 0), np.float32)),
        BadShapeError,
        "user_factors is empty: 3 rows x 0 factors.",
    ),
    "different ranks": (
        lambda: raw_model(item_factors=np.zeros((4, 3), np.float32)),
        BadShapeError,
        "user_factors has 2 factors and item_factors has 3; both must come from the same training.",
    ),
    "items whose products vanish": (
        lambda: raw_model(item_factors=np.full((4, 2), 1e-30, np.float32)),
        NotFiniteError,
        "The item factors are so small (the largest norm is 1.41e-30) that float32 cannot hold their products; train "
        "the model again with less regularization.",
    ),
    "whole numbers": (
        lambda: raw_model(user_factors=np.zeros((3, 2), np.int64)),
        BadDtypeError,
        "user_factors has the type int64 instead of float32 or float64.",
    ),
    "NaN in the first row": (
        with_number("user_factors", 0, np.nan),
        NotFiniteError,
        "user_factors has NaN or infinite numbers, first in row 0; train the model again.",
    ),
    "inf in a middle row": (
        with_number("item_factors", 2, -np.inf),
        NotFiniteError,
        "item_factors has NaN or infinite numbers, first in row 2; train the model again.",
    ),
    "NaN in the last row": (
        with_number("item_factors", 3, np.nan),
        NotFiniteError,
        "item_factors has NaN or infinite numbers, first in row 3; train the model again.",
    ),
    "item weights that are whole numbers": (
        lambda: raw_model(item_weights=np.ones(4, np.int64)),
        BadDtypeError,
        "item_weights is not a float array; leave it out.",
    ),
    "item weights of fewer items": (
        lambda: raw_model(item_weights=np.ones(3)),
        BadShapeError,
        "item_weights has the shape (3,) instead of (4,), one for each item.",
    ),
    "an item weight of 0": (
        lambda: raw_model(item_weights=np.array([1.0, 0, 1, 1])),
        NotFiniteError,
        "item_weights must be above 0 and at most 1e+09.",
    ),
    "popularity of nobody": (
        lambda: raw_model(popularity_only=True, user_ids=[], user_factors=None),
        BadShapeError,
        "user_ids or item_ids is empty; a model has at least one user and one item.",
    ),
    "beyond float32": (
        lambda: raw_model(user_factors=np.full((3, 2), 1e39)),
        NotFiniteError,
        "user_factors has NaN or infinite numbers, first in row 0; train the model again.",
    ),
    "scores beyond float32": (
        lambda: raw_model(
            user_factors=np.full((3, 2), 1e20, np.float32), item_factors=np.full((4, 2), 1e20, np.float32)
        ),
        NotFiniteError,
        "The factors are so large that sums of their products can reach 8e+40, which float32 cannot hold; "
        "train the model again with regularization.",
    ),
    "squares beyond float32": (
        lambda: raw_model(item_factors=np.full((4, 2), 1e19, np.float32)),
        NotFiniteError,
        "The factors are so large that sums of their products can reach 8e+38, which float32 cannot hold; "
        "train the model again with regularization.",
    ),
    "too few ids": (
        lambda: raw_model(user_ids={0: "ann", 1: "bob"}),
        BadIdsError,
        "user_id_map has 2 ids for 3 rows of factors; it must have one for each.",
    ),
    "users and items swapped": (
        lambda: raw_model(user_ids=[1, 2, 3, 4], item_ids=[1, 2, 3]),
        BadIdsError,
        "Users and items look swapped: 3 user rows with 4 user ids and 4 item rows with 3 item ids; "
        "exchange the id maps (or the factors).",
    ),
    "duplicate id": (
        lambda: raw_model(user_ids={0: "ann", 1: "bob", 2: "ann"}),
        BadIdsError,
        "user_id_map has the id 'ann' for row 0 and for row 2; ids must be unique.",
    ),
    "negative row": (
        lambda: raw_model(user_ids={-1: "ann", 0: "bob", 1: "cid"}),
        BadIdsError,
        "user_id_map has the row number -1; rows are whole numbers from 0 to 2.",
    ),
    "row out of range": (
        lambda: raw_model(user_ids={0: "ann", 1: "bob", 3: "cid"}),
        BadIdsError,
        "user_id_map has the row number 3; rows are whole numbers from 0 to 2.",
    ),
    "row is a fraction": (
        lambda: raw_model(user_ids={0: "ann", 1: "bob", 1.5: "cid"}),
        BadIdsError,
        "user_id_map has the row number 1.5; rows are whole numbers from 0 to 2.",
    ),
    "two ids for a row": (
        lambda: raw_model(user_ids=None, reverse_user_ids={"ann": 0, "bob": 1, "cid": 1}),
        BadIdsError,
        "reverse_user_id_map gives row 1 to 'bob' and to 'cid'; ids must be unique.",
    ),
    "directions contradict": (
        lambda: raw_model(reverse_user_ids={"ann": 0, "bob": 2, "cid": 1}),
        BadIdsError,
        "user_id_map and reverse_user_id_map contradict each other; write both from the same ids.",
    ),
    "mixed ids": (
        lambda: raw_model(user_ids=["ann", 2, "cid"]),
        BadIdsError,
        "user_id_map has ids of type int and str, first in row 1; all must be int, or all str: save text, str(id).",
    ),
    "true is not an id": (
        lambda: raw_model(user_ids=[True, False, True]),
        BadIdsError,
        "user_id_map has a bool in row 0; an id is a whole number or text.",
    ),
    "None is not an id": (
        lambda: raw_model(user_ids=[None, None, None]),
        BadIdsError,
        "user_id_map has None in row 0; leave out what has no id.",
    ),
    "id beyond 64 bits": (
        lambda: raw_model(user_ids=[1, 2, 2**63]),
        BadIdsError,
        "user_id_map has the id 9223372036854775808, which does not fit in 64 bits; use a str id.",
    ),
    "id of more digits than Python prints": (
        lambda: raw_model(user_ids=[1, 2, 10**5000]),
        BadIdsError,
        "user_id_map has the id a number of thousands of digits, which does not fit in 64 bits; use a str id.",
    ),
    "row of more digits than Python prints": (
        lambda: raw_model(user_ids={0: "ann", 1: "bob", 10**5000: "cid"}),
        BadIdsError,
        "user_id_map has the row number a number of thousands of digits; rows are whole numbers from 0 to 2.",
    ),
    "regularization of more digits than Python prints": (
        lambda: raw_model(regularization=-(10**5000)),
        NotFiniteError,
        "regularization is a number of thousands of digits; it must be from 0 to 1e+09.",
    ),
    "a regularization that float cannot hold": (
        lambda: raw_model(regularization=10**400),
        NotFiniteError,
        "regularization is 100000000000000000...0000000000000000000; it must be from 0 to 1e+09.",
    ),
    "empty id": (
        lambda: raw_model(user_ids=["ann", "", "cid"]),
        BadIdsError,
        "user_id_map has an id of 0 bytes in row 1; 1 to 256 are allowed.",
    ),
    "long id": (
        lambda: raw_model(user_ids=["ann", "bob", "é" * 129]),
        BadIdsError,
        "user_id_map has an id of 258 bytes in row 2; 1 to 256 are allowed.",
    ),
    "NUL in an id": (
        lambda: raw_model(user_ids=["ann", "b\0b", "cid"]),
        BadIdsError,
        "user_id_map has an id with a NUL character in row 1, which cannot be stored.",
    ),
    "id is half a character": (
        lambda: raw_model(user_ids=["ann", "\ud800", "cid"]),
        BadIdsError,
        "user_id_map has an id in row 1 that is not valid text (a lone surrogate).",
    ),
    "ids in two dimensions": (
        lambda: raw_model(user_ids=np.zeros((3, 1), np.int64)),
        BadIdsError,
        "user_id_map has 2 dimensions instead of 1.",
    ),
    "seen transposed": (
        lambda: raw_model(seen=seen("csr", (ITEMS, USERS), indptr=[0], indices=[0])),
        BadSeenMatrixError,
        "sparse_matrix is 4 x 3 (items x users); it must be users x items: save sparse_matrix.T.tocsr().",
    ),
    "seen of another model": (
        lambda: raw_model(seen=seen("csr", (9, 9), indptr=[0], indices=[0])),
        BadSeenMatrixError,
        "sparse_matrix has the shape (9, 9); the factors have 3 users x 4 items.",
    ),
    "indptr too short": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1], indices=[0])),
        BadSeenMatrixError,
        "sparse_matrix.indptr has 2 entries instead of 4 (rows + 1).",
    ),
    "indptr of the transpose, without a shape": (
        lambda: raw_model(seen=seen("csr", None, indptr=[0, 1, 2, 2, 2], indices=[0, 1])),
        BadSeenMatrixError,
        "sparse_matrix.indptr has 5 entries instead of 4 (rows + 1), as of an items x users matrix: save the arrays of "
        "its .T.tocsr().",
    ),
    "indptr descends": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 2, 1, 2], indices=[0, 1])),
        BadSeenMatrixError,
        "sparse_matrix.indptr must start at 0 and never decrease.",
    ),
    "indptr whose differences wrap around": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 2**63 - 1, -(2**63), 0], indices=np.zeros(0, int))),
        BadSeenMatrixError,
        "sparse_matrix.indptr must start at 0 and never decrease.",
    ),
    "a shape without end": (
        lambda: raw_model(seen=seen("csr", (10**50,) * 5000, indptr=[0], indices=[0])),
        BadSeenMatrixError,
        "sparse_matrix has the shape (100000000000000000...0000000000000000000, 100000000000000000...0000000000000000…"
        "; the factors have 3 users x 4 items.",
    ),
    "indptr beyond the indices": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 2, 2**40], indices=[0, 1])),
        BadSeenMatrixError,
        "sparse_matrix.indptr ends at 1099511627776; there are 2 indices.",
    ),
    "item out of range": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 2, 2], indices=[0, 4])),
        BadSeenMatrixError,
        "sparse_matrix refers to item row 4; rows are 0 to 3.",
    ),
    "negative user": (
        lambda: raw_model(seen=seen("coo", row=[0, -1], col=[0, 0])),
        BadSeenMatrixError,
        "sparse_matrix refers to user row -1; rows are 0 to 2.",
    ),
    "coordinates do not pair": (
        lambda: raw_model(seen=seen("coo", row=[0, 1], col=[0])),
        BadSeenMatrixError,
        "sparse_matrix has 2 row numbers but 1 column numbers.",
    ),
    "indices are fractions": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 1, 1], indices=[0.5])),
        BadSeenMatrixError,
        "sparse_matrix.indices is not a one-dimensional array of whole numbers.",
    ),
    "weights do not pair": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 1, 1], indices=[0], weights=[1.0, 2.0])),
        BadSeenMatrixError,
        "sparse_matrix has 1 pairs but 2 weights.",
    ),
    "weights are text": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 1, 1], indices=[0], weights=["a"])),
        BadSeenMatrixError,
        "The weights of sparse_matrix are not a one-dimensional array of numbers.",
    ),
    "weight is NaN": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 1, 1, 1], indices=[0], weights=[np.nan])),
        BadSeenMatrixError,
        "sparse_matrix has a weight, or a sum of the weights of a pair, that is NaN or infinite.",
    ),
    "weights whose sum overflows": (
        lambda: raw_model(seen=seen("csr", indptr=[0, 2, 2, 2], indices=[1, 1], weights=np.full(2, 3e38, np.float32))),
        BadSeenMatrixError,
        "sparse_matrix has a weight, or a sum of the weights of a pair, that is NaN or infinite.",
    ),
    "alpha is text": (lambda: raw_model(alpha="1"), BadDtypeError, "alpha is a str, not a number."),
    "an activity discount beyond 1": (
        lambda: raw_model(activity_discount=1.5),
        NotFiniteError,
        "activity_discount is 1.5; it must be from 0 to 1.",
    ),
    "negative regularization": (
        lambda: raw_model(regularization=-0.1),
        NotFiniteError,
        "regularization is -0.1; it must be from 0 to 1e+09.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_model_is_refused_with_one_exact_sentence(case: str) -> None:
    """Whatever is wrong, its own class is raised and the sentence names the component and the place."""
    make, kind, sentence = REFUSED[case]
    with pytest.raises(kind) as refusal:
        validate(make())
    assert type(refusal.value) is kind
    assert str(refusal.value) == sentence


def test_a_good_model_keeps_every_number() -> None:
    """Factors, ids and seen pairs come out as they went in."""
    proved = validate(raw_model())
    np.testing.assert_array_equal(proved.user_factors, [[0, 1], [2, 3], [4, 5]])
    assert proved.user_ids.tolist() == [b"ann", b"bob", b"cid"]
    assert proved.item_ids.tolist() == [10, 11, 12, 13]
    assert proved.seen is not None
    assert [proved.seen.of(user).tolist() for user in range(USERS)] == [[2], [0, 1], []]
    assert (proved.regularization, proved.alpha, proved.activity_discount) == (0.01, 1.0, 0.0)


def test_float64_in_fortran_order_becomes_float32_in_c_order() -> None:
    """What BLAS is fed is always float32 rows in memory order."""
    proved = validate(raw_model(user_factors=np.asfortranarray(np.arange(6, dtype=np.float64).reshape(3, 2))))
    assert proved.user_factors.dtype == np.float32
    assert proved.user_factors.flags.c_contiguous


def test_without_ids_the_row_numbers_are_the_ids() -> None:
    """What implicit's own save writes has no ids; its row numbers serve."""
    proved = validate(raw_model(user_ids=None, item_ids=None))
    assert proved.user_ids.tolist() == [0, 1, 2]
    assert proved.item_ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "maps",
    [
        {"user_ids": {0: "ann", 1: "bob", 2: "cid"}},
        {"user_ids": None, "reverse_user_ids": {"cid": 2, "ann": 0, "bob": 1}},
        {"user_ids": {"ann": 0, "bob": 1, "cid": 2}},
        {"user_ids": None, "reverse_user_ids": {0: "ann", 1: "bob", 2: "cid"}},
        {"user_ids": {"ann": 0, "bob": 1, "cid": 2}, "reverse_user_ids": {0: "ann", 1: "bob", 2: "cid"}},
        {"user_ids": np.array(["ann", "bob", "cid"])},
    ],
)
def test_a_map_is_taken_in_either_direction(maps: dict[str, Any]) -> None:
    """Row -> id and id -> row are both read, also under the other's name where only that can be meant."""
    assert validate(raw_model(**maps)).user_ids.tolist() == [b"ann", b"bob", b"cid"]


def test_ids_that_could_be_rows_are_read_as_the_name_says() -> None:
    """A map from whole numbers to whole numbers has the documented direction: user_id_map is row -> id."""
    assert validate(raw_model(user_ids={0: 1, 1: 2, 2: 0})).user_ids.tolist() == [1, 2, 0]
    assert validate(raw_model(user_ids=None, reverse_user_ids={0: 1, 1: 2, 2: 0})).user_ids.tolist() == [2, 0, 1]


pairs = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(1, 9)), max_size=20)


@given(pairs, st.sampled_from(["coo", "csr", "csc"]))
def test_every_layout_of_the_seen_matrix_gives_the_same_pairs(pairs: list[tuple[int, int, int]], layout: str) -> None:
    """In coordinates or compressed either way, unsorted and with repeats: sorted, unique, weights summed."""
    expected: dict[tuple[int, int], int] = {}
    for user, item, weight in pairs:
        expected[user, item] = expected.get((user, item), 0) + weight
    proved = validate(raw_model(seen=_laid_out(pairs, layout))).seen
    assert proved is not None
    found = {
        (user, int(item)): float(weight)
        for user in range(USERS)
        for item, weight in zip(proved.of(user), proved.weights_of(user), strict=True)
    }
    assert found == expected
    assert all((np.diff(proved.of(user)) > 0).all() for user in range(USERS))


def _laid_out(pairs: list[tuple[int, int, int]], layout: str) -> RawSeen:
    user, item, weight = (np.array([pair[column] for pair in pairs], np.int32) for column in range(3))
    if layout == "coo":
        return RawSeen("coo", (USERS, ITEMS), weight, row=user, col=item)
    axis, other, rows = (user, item, USERS) if layout == "csr" else (item, user, ITEMS)
    order = np.argsort(axis, kind="stable")
    indptr = np.concatenate(([0], np.cumsum(np.bincount(axis, minlength=rows))))
    return RawSeen(layout, (USERS, ITEMS), weight[order], indptr=indptr, indices=other[order])


@pytest.mark.parametrize("facts", ["{}", "no JSON", 7, " " * 70_000, "\ud800", '{"x":' + "[" * 60_000])
def test_facts_that_make_no_sense_are_left_out(facts: object) -> None:
    """No answer depends on how a model was made, so no model is refused for what it says of that."""
    assert validate(raw_model(training_facts=facts)).facts is None
