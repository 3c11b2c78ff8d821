"""Which of a model's items may be shown, and which of its users are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model.arranging import arrange
from service.model.catalog.assortment import assort
from service.model.catalog.catalog import Catalog
from service.model.ids import IdKind
from tests.support.models import make_factors

_LISTED = st.sets(st.integers(0, 40).map(str))


def listed(*ids: object) -> NDArray[Any]:
    """Return ids as a list of them has them: bytes, ascending."""
    return np.array(sorted(str(each).encode() for each in ids), "S8")


def shown(mask: NDArray[np.bool_] | None, *, otherwise: bool) -> list[bool]:
    """Return a mask of 30 rows, which is None only if all are ``otherwise``."""
    if mask is None:
        return [otherwise] * 30
    assert not (mask == otherwise).all()
    found: list[bool] = mask.tolist()
    return found


@pytest.mark.parametrize("kind", ["int", "str"])
@given(ids=_LISTED, off=_LISTED, unavailable=_LISTED, hidden=_LISTED)
def test_available_is_what_neither_the_catalog_nor_a_list_withdraws(
    kind: IdKind, ids: set[str], off: set[str], unavailable: set[str], hidden: set[str]
) -> None:
    """An item may be shown unless its row or a list says no; with ``listed_only``, only if it has a row."""
    made = make_factors(users=30, items=30, ids=kind, pairs=None)
    names = np.arange(30) if kind == "int" else listed(*range(30))
    model = arrange(replace(made, user_ids=names, item_ids=names))
    catalog = Catalog(listed(*ids), available=np.array([each.decode() not in off for each in listed(*ids)], np.bool_))
    for listed_only in (False, True):
        assortment = assort(model, catalog, listed(*unavailable), listed(*hidden), listed_only=listed_only)
        items = [str(each) for each in model.item_ids.at(np.arange(30))]
        expected = [
            item not in unavailable and not (item in ids and item in off) and (item in ids or not listed_only)
            for item in items
        ]
        assert shown(assortment.available, otherwise=True) == expected
        users = [str(each) in hidden for each in model.user_ids.at(np.arange(30))]
        assert shown(assortment.hidden, otherwise=False) == users
