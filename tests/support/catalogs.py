"""Small catalogs for tests, and filters with what they mean: text, and a predicate of an item's attributes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model.catalog.assortment import Assortment, assort
from service.model.catalog.catalog import NO_DATE, Catalog, Column, Kind, Words
from service.model.factors import Id
from service.model.model import Model

#: What an item has: by attribute, a value, a list of values, or None.
Attributes = Mapping[str, Any]

_POOLS: dict[Kind, list[Any]] = {
    "bool": [True, False],
    "number": [-1.5, 0.0, 3.0, 20.0, 1e300],
    "date": [
        datetime(2024, 5, 31, tzinfo=UTC),
        datetime(2024, 6, 1, 12, 30, tzinfo=UTC),
        datetime(1969, 1, 1, tzinfo=UTC),
    ],
    "text": ["", "horror", "it's", "Küche", "κήπος", "a|b"],
}
_MISSING = {"bool": -1, "number": np.nan, "date": NO_DATE, "text": -1}
_TYPES = {"bool": np.int8, "number": np.float64, "date": np.int64, "text": np.int32}
#: The attributes of the catalogs: each kind alone and as a list, and a name that needs quotes.
KINDS: dict[str, tuple[Kind, bool]] = {
    **{kind: (kind, False) for kind in _POOLS},
    **{f"{kind}_list": (kind, True) for kind in _POOLS},
    'odd "name" in': ("text", False),
}


def make_words(texts: Sequence[str]) -> Words:
    """Return texts as a catalog has them."""
    encoded = [text.encode() for text in texts]
    starts = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return Words(starts, np.frombuffer(b"".join(encoded), np.uint8))


def make_column(kind: Kind, is_list: bool, values: Sequence[Any]) -> Column:
    """Return a column of values, or of lists of values; None is missing."""
    flat = [value for each in values for value in each or ()] if is_list else list(values)
    words = sorted({value for value in flat if value is not None}, key=str.encode) if kind == "text" else []
    stored = [_MISSING[kind] if value is None else _stored(kind, value, words) for value in flat]
    starts = np.cumsum([0, *(len(each or ()) for each in values)]).astype(np.int64) if is_list else None
    return Column(kind, np.array(stored, _TYPES[kind]), starts, make_words(words) if kind == "text" else None)


def make_catalog(items: Mapping[Id, Attributes], kinds: Mapping[str, tuple[Kind, bool]] = KINDS) -> Catalog:
    """Return a catalog of these items."""
    ids: NDArray[Any] = np.array(sorted(str(each).encode() for each in items) or [b""], "S64")[: len(items)]
    rows = {str(each).encode(): attributes for each, attributes in items.items()}
    ordered = [rows[each] for each in ids.tolist()]
    return Catalog(
        ids,
        columns={name: make_column(*kind, [row.get(name) for row in ordered]) for name, kind in kinds.items()},
    )


def titled(model: Model, titles: Mapping[Id, str]) -> Assortment:
    """Return a model's items with a catalog that has a title for each of these ids; an empty one is none."""
    by_key = {str(item).encode(): title for item, title in titles.items()}
    keys = sorted(by_key)
    return assort(model, Catalog(np.array(keys), make_words([by_key[key] for key in keys])))


def _stored(kind: Kind, value: Any, words: list[str]) -> Any:
    if kind == "date":
        return round(value.timestamp() * 1e6)
    return words.index(value) if kind == "text" else value


@st.composite
def attributes(draw: st.DrawFn) -> Attributes:
    """Draw what an item has; much is missing."""
    return {
        name: draw(
            st.lists(st.sampled_from(_POOLS[kind]), max_size=3) if is_list else st.sampled_from([None, *_POOLS[kind]])
        )
        for name, (kind, is_list) in KINDS.items()
        if draw(st.booleans())
    }


@dataclass(frozen=True)
class Filter:
    """A filter, and whether it is true of an item."""

    text: str
    is_true: Callable[[Attributes], bool]


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def comparisons(draw: st.DrawFn) -> Filter:
    """Draw one comparison, in one of the ways to write it."""
    name = draw(st.sampled_from([*KINDS]))
    kind, _ = KINDS[name]
    orders = [*_ORDERS] if kind in ("number", "date") else []
    sign = draw(st.sampled_from(["=", "!=", "IN", "NOT IN", *orders, *["alone"] * (kind == "bool")]))
    values = draw(st.lists(st.sampled_from(_POOLS[kind]), min_size=1, max_size=3 if "IN" in sign else 1))
    left = name if name.isidentifier() and draw(st.booleans()) else '"' + name.replace('"', '""') + '"'
    if sign == "alone":
        return Filter(left, lambda item: True in _values(item, name))
    right = ", ".join(_written(draw, value) for value in values)
    text = (
        f"{left} {draw(_cased(sign))} ({right})" if "IN" in sign else f"{left}{draw(_SPACE)}{sign}{draw(_SPACE)}{right}"
    )

    def is_true(item: Attributes) -> bool:
        mine = _values(item, name)
        if sign in _ORDERS:
            return any(_ORDERS[sign](each, values[0]) for each in mine)
        return any(each in values for each in mine) if sign in ("=", "IN") else bool(mine) and not {*mine} & {*values}

    return Filter(text, is_true)


def _values(item: Attributes, name: str) -> list[Any]:
    value = item.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


_SPACE = st.sampled_from(["", " ", "\n\t "])


def _cased(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word, word.lower(), word.title()])


def _written(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, bool):
        return draw(_cased(str(value)))
    if isinstance(value, datetime):
        return f"'{draw(st.sampled_from([value, value.replace(tzinfo=None)])).isoformat()}'"
    return f"{value:g}" if isinstance(value, float) else "'" + value.replace("'", "''") + "'"


def _inverted(draw: st.DrawFn, of: Filter) -> Filter:
    return Filter(f"{draw(_cased('NOT'))} ({of.text})", lambda item: not of.is_true(item))


@st.composite
def _combined(draw: st.DrawFn, inner: st.SearchStrategy[Filter]) -> Filter:
    parts = draw(st.lists(inner, min_size=1, max_size=3))
    if len(parts) == 1:
        return _inverted(draw, parts[0])
    word, combine = draw(st.sampled_from([("AND", all), ("OR", any)]))
    text = f" {draw(_cased(word))} ".join(f"({part.text})" for part in parts)
    return Filter(text, lambda item: combine(part.is_true(item) for part in parts))


#: Filters of any shape.
filters = st.recursive(comparisons(), _combined, max_leaves=8)
