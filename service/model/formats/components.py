"""The components of a pickled dict under our names, and what to say if some are missing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from service.errors import MissingComponentsError
from service.model.formats.standins import AlternatingLeastSquares, Array, SparseMatrix
from service.model.keys import KEYS
from service.untrusted import quote

_SHOWN_KEYS = 20
_SIDES = {
    "user_id_map": re.compile(r"user|customer|client|member|account|visitor|uid", re.IGNORECASE),
    "product_id_map": re.compile(r"item|product|movie|book|article|track|song|artist|sku|asin|pid|iid", re.IGNORECASE),
}
_TO_ROWS = re.compile(r"(to|2)_?(idx|ix|index|row|inner|code|num|int)|reverse|inverse|_(idx|index)$", re.IGNORECASE)

Components = dict[object, object]


def named(content: Components, keys: Mapping[str, str]) -> Components:
    """Return a dict under our names, of one with other names. Raises MissingComponentsError if one is not there."""
    absent = [theirs for theirs in keys.values() if theirs not in content]
    if absent:
        raise MissingComponentsError(
            f"Model file is missing required components: {absent}, which ALS_PICKLE_KEYS (or --key) names; the dict "
            f"has {_listed(content)}"
        )
    taken = {theirs for ours, theirs in keys.items() if ours != theirs}
    return {key: value for key, value in content.items() if key not in taken} | {
        ours: content[theirs] for ours, theirs in keys.items()
    }


def hint(content: Components, missing: Iterable[str]) -> str:
    """Return the end of a message about missing components: the keys that are there, and which are likely meant."""
    if not any(isinstance(key, str) for key in content):
        return ""
    meant = _meant(content, missing)
    if not meant:
        return f"; the dict has {_listed(content)}"
    pairs = [f"{ours}={quote(theirs)}" for ours, theirs in meant.items()]
    flags = " ".join(f"--key {pair}" for pair in pairs)
    return f"; the dict has {_listed(content)}: try {flags} (of a server: ALS_PICKLE_KEYS={','.join(pairs)})"


def _meant(content: Components, missing: Iterable[str]) -> dict[str, str]:
    """Return {our name: the key that is most likely meant}."""
    free = {key: value for key, value in content.items() if isinstance(key, str) and key not in KEYS}
    meant: dict[str, str] = {}
    for ours in (*missing, *(() if "sparse_matrix" in content else ("sparse_matrix",))):
        found = [key for key, value in free.items() if _fits(ours, key, value) and key not in meant.values()]
        if found:
            best = max(found, key=lambda key: difflib.SequenceMatcher(None, key, ours).ratio())
            meant[_directed(ours, best, free[best])] = best
    return meant


def _fits(ours: str, key: str, value: object) -> bool:
    if ours == "model":
        return isinstance(value, AlternatingLeastSquares)
    if ours == "sparse_matrix":
        return isinstance(value, SparseMatrix)
    return isinstance(value, dict | list | tuple | Array) and bool(_SIDES[ours].search(key))


def _directed(ours: str, key: str, value: object) -> str:
    """Return the name of a map in the direction that its key says."""
    return f"reverse_{ours}" if ours in _SIDES and isinstance(value, dict) and _TO_ROWS.search(key) else ours


def _listed(content: Components) -> str:
    names = [quote(repr(key)) for key in content if isinstance(key, str)]
    return ", ".join([*names[:_SHOWN_KEYS], *(["…"] if len(names) > _SHOWN_KEYS else [])])
