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
UNITS = {"k": 10**3, "M": 10**6, "MB": 10**6, "GB": 10**9}


def computed(users: int, items: int, factors: int, pairs: int, id_bytes: tuple[int, int] = (8, 8)) -> int:
    """Return the bytes of a snapshot by the table; ``id_bytes`` are those of a user's and of an item's id."""
    rows = {what: [int(number) for number in re.findall(r"\d+", text)] for what, text in table()}
    (user_factor,) = rows["each user"]
    item_factor, rounded, fixed = rows["each item"]
    for_pair, for_user, for_item = rows["each pair of a user and a seen item"]
    codes = -(-factors // rounded) * rounded
    had = for_pair * pairs + for_user * users + for_item * items if pairs else 0
    return (
        users * (user_factor * factors + id_bytes[0])
        + items * (item_factor * factors + codes + fixed + id_bytes[1])
        + had
    )


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
    assert sum(array.nbytes for array in arrays.values()) - 8 == computed(
        USERS, ITEMS, FACTORS, len(factors.seen.items), ids
    )


def number(text: str) -> float:
    """Return a number such as 29,858, 5M or 1.5 GB; a dash is 0."""
    found = re.fullmatch(r"([\d.,]+) ?(\w*)", text)
    return float(found[1].replace(",", "")) * UNITS.get(found[2], 1) if found else 0


def test_the_sizes_of_snapshots_are_those_of_the_table_of_parts() -> None:
    """Measured or computed, each is what its users, items, factors and pairs add up to, as far as its digits say."""
    rows = rows_below("docs/scale.md", "| users × items × factors | pairs | snapshot | import | measured or computed |")
    assert rows[-1][0] == "100M × 10M × 128"
    for size, pairs, snapshot, *_ in rows:
        users, items, factors = (int(number(part)) for part in size.split(" × "))
        assert computed(users, items, factors, int(number(pairs))) == pytest.approx(number(snapshot), rel=0.02), size
