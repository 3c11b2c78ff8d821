"""docs/scale.md: its arithmetic is that of a real snapshot."""

from __future__ import annotations

import re

import pytest

from service.model.arranging import arrange
from service.model.ids import IdKind
from service.model.storage.snapshot import arrays_of
from tests.support.documents import rows_below
from tests.support.models import make_factors

USERS, ITEMS, FACTORS = 40, 60, 40
#: Rounded up to a multiple of 32.
CODES = 64


def computed(pairs: int, id_bytes: tuple[int, int]) -> int:
    """Return the bytes of a snapshot by the table; ``id_bytes`` are those of a user's and of an item's id."""
    rows = {what: [int(number) for number in re.findall(r"\d+", text)] for what, text in table()}
    (user_factor,) = rows["each user"]
    item_factor, rounded, fixed = rows["each item"]
    for_pair, for_user, for_item = rows["each pair of a user and a seen item"]
    assert CODES % rounded == 0
    users = USERS * (user_factor * FACTORS + id_bytes[0] + for_user)
    items = ITEMS * (item_factor * FACTORS + CODES + fixed + id_bytes[1] + for_item)
    return users + items + for_pair * pairs


def table() -> list[list[str]]:
    """Return the rows of the table, without its last one, about ids."""
    *rows, last = rows_below("docs/scale.md", "| part | bytes |")
    assert last[0] == "each id"
    return rows


@pytest.mark.parametrize("kind", ["int", "str"])
def test_a_snapshot_has_the_bytes_that_the_table_says(kind: IdKind) -> None:
    """Users, items, pairs and ids add up to the arrays of a snapshot, within 8 bytes for the whole."""
    factors = make_factors(USERS, ITEMS, FACTORS, ids=kind)
    model = arrange(factors)
    arrays = arrays_of(model)
    gram = arrays.pop("item_gram.npy")  # as large for every model with so many factors
    assert gram.size == FACTORS**2
    assert factors.seen
    ids = arrays["user_ids.npy"].itemsize, arrays["item_ids.npy"].itemsize
    assert (max(map(len, factors.user_ids.tolist())) if kind == "str" else 8) == ids[0]
    assert sum(array.nbytes for array in arrays.values()) - 8 == computed(len(factors.seen.items), ids)
