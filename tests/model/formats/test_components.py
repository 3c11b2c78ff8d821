"""Pickles of other content: the message names what is missing or wrong, and what to save."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

from service.errors import BadDtypeError, BadIdsError, BadSeenMatrixError, CorruptFileError, UnknownFormatError
from tests.support.pickles import make_model, pickled, read_bytes


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ()),
        ({"model": None, "user_id_map": None}, ("model", "user_id_map")),
        ({"model": None, "user_id_map": None, "product_id_map": None}, ("model", "user_id_map", "product_id_map")),
        ({"user_id_map": None, "reverse_user_id_map": {"ann": 0}}, ()),
        ({"product_id_map": None, "reverse_product_id_map": {10: 0}}, ()),
    ],
    ids=str,
)
def test_what_is_missing_is_named(changes: dict[str, object], missing: tuple[str, ...]) -> None:
    """Each required component that is absent is named in order; a map is there in either direction."""
    assert read_bytes(pickled(**changes)).missing == missing


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        (
            pickle.dumps([1]),
            UnknownFormatError,
            "The pickle is a list; save a dict with the keys 'model', 'user_id_map' and 'product_id_map'.",
        ),
        (
            pickle.dumps(None),
            UnknownFormatError,
            "The pickle is None; save a dict with the keys 'model', 'user_id_map' and 'product_id_map'.",
        ),
        (
            pickled(model={"user_factors": 1}),
            UnknownFormatError,
            "model is a dict; save implicit's AlternatingLeastSquares itself.",
        ),
        (
            pickled(user_id_map={1, 2}),
            BadIdsError,
            "user_id_map is a set; it must be a dict row number -> id, or a list of ids.",
        ),
        (
            pickled(reverse_user_id_map=["ann"]),
            BadIdsError,
            "reverse_user_id_map is a list; it must be a dict id -> row number.",
        ),
        (
            pickled(product_id_map=np.array([b"a", b"\xff"])),
            BadIdsError,
            "product_id_map has bytes that are not UTF-8 text in row 1.",
        ),
        (
            pickled(user_id_map=np.array(["a", 1.5, "c"], object)),
            BadDtypeError,
            "user_id_map has a float in row 1; an id is a whole number or text.",
        ),
        (
            pickled(user_id_map=np.array([["a"], ["b"]], object)),
            CorruptFileError,
            "user_id_map has a shape that does not match its data; save the model again.",
        ),
        (
            pickled(sparse_matrix=[1]),
            BadSeenMatrixError,
            "sparse_matrix is a list; save a csr, csc or coo matrix of scipy.",
        ),
        (
            pickled(sparse_matrix=scipy.sparse.coo_array(np.ones(3))),
            BadSeenMatrixError,
            "sparse_matrix does not have two coordinates; save a users x items matrix.",
        ),
    ],
)
def test_a_component_of_another_kind_is_named(content: bytes, error: type[Exception], sentence: str) -> None:
    """A harmless pickle of another kind is refused with what to save instead."""
    with pytest.raises(error) as caught:
        read_bytes(content)
    assert str(caught.value) == sentence


def test_object_factors_are_refused() -> None:
    """Factors of Python objects are not numbers."""
    model = make_model()
    model.user_factors = model.user_factors.astype(object)
    with pytest.raises(BadDtypeError) as caught:
        read_bytes(pickled(model=model))
    assert str(caught.value) == ("model.user_factors is an array of Python objects; convert it to an array of numbers.")


@pytest.mark.parametrize("attribute", ["indptr", "data", "_shape"])
def test_a_seen_matrix_without_a_part_is_refused(attribute: str) -> None:
    """A sparse matrix that lacks an array or its shape is named."""
    matrix = scipy.sparse.csr_matrix(np.eye(3, 4))
    del matrix.__dict__[attribute]
    with pytest.raises(BadSeenMatrixError) as caught:
        read_bytes(pickled(sparse_matrix=matrix))
    what = "has no shape" if attribute == "_shape" else f"has no array {attribute}"
    assert str(caught.value) == f"sparse_matrix {what}; save a csr, csc or coo matrix of scipy."


def test_a_shape_without_underscore_is_a_shape() -> None:
    """The oldest matrices keep their shape under its plain name."""
    matrix = scipy.sparse.csr_matrix(np.eye(3, 4))
    matrix.__dict__["shape"] = matrix.__dict__.pop("_shape")
    raw = read_bytes(pickled(sparse_matrix=matrix))
    assert raw.seen is not None
    assert raw.seen.shape == (3, 4)


def test_an_unfitted_model_is_left_to_the_gate() -> None:
    """Factors that are None arrive as None."""
    raw = read_bytes(pickled(model=AlternatingLeastSquares()))
    assert (raw.user_factors, raw.item_factors, raw.missing) == (None, None, ())
