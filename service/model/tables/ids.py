"""The one rule for ids, in text and in Parquet: what is missing, and what number or text an id is.

Markers such as NULL are missing; blanks around an id do not belong to it; a whole number is the same id however it is
written (17, 17.0, as a float or a decimal).
"""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.model.ids import MAX_ID_BYTES

#: What databases, R, pandas and spreadsheets write for a missing value.
MISSING = ("", "NULL", "Null", "null", "(null)", "\\N", "None", "none", "NONE", "nan", "NaN", "NAN", "-nan", "-NaN",
           "NaT", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
           "#NULL!", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "undefined", "nil")  # fmt: skip
#: What logs write for a missing value, and consoles below a header.
_DASHES = r"^:?-+:?$"
#: With those that cannot be seen: a no-break space, a space of no width and a byte order mark.
_BLANKS = " \t\u00a0\u200b\ufeff"
_WHOLE_FLOAT = r"^(-?[1-9][0-9]*|0)\.0+$"
_CANONICAL_INT = r"^(0|-?[1-9][0-9]{0,18})$"
#: Every whole number up to here has one float64 only.
_LARGEST_EXACT = 2**53
_UUID_BYTES = 16
_MOST_DIGITS = 19

_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)


class NotTextError(ValueError):
    """A column of ids has bytes that are not text; the message names it."""


def are_ids(kind: Any) -> bool:
    """Return whether a column of this Arrow type can have ids."""
    kind = _storage(kind.value_type if pa.types.is_dictionary(kind) else kind)
    return any(is_kind(kind) for is_kind in (*_TEXT, *_BINARY, *_NUMBERS, pa.types.is_null))


def clean(column: Any, name: str) -> Any:
    """Return the ids of a column as an Arrow dictionary array of text, null where an id is missing.

    Everything is done once for each distinct value. Raises NotTextError for bytes that are not text.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    given = pa.types.is_dictionary(column.type)  # by the file, with codes of any width
    encoded = column if given else column.dictionary_encode()
    values = _normal(_texts(encoded.dictionary, name))
    if values is encoded.dictionary and not given:
        return encoded
    again = values.dictionary_encode()  # two ways to write an id are one id
    return pa.DictionaryArray.from_arrays(again.indices.take(encoded.indices), again.dictionary)


def invalid(ids: Any) -> NDArray[np.bool_]:
    """Return bool [rows]: whether an id cannot be one; a missing one counts as valid here."""
    bad = pc.or_(
        pc.greater(pc.binary_length(ids.dictionary), MAX_ID_BYTES), pc.match_substring(ids.dictionary, "\0")
    ).to_numpy(zero_copy_only=False)
    if not bad.any():
        return np.zeros(len(ids), np.bool_)
    marked: NDArray[np.bool_] = bad[ids.indices.fill_null(0).to_numpy()] & ids.is_valid().to_numpy(zero_copy_only=False)
    return marked


def are_numbers(texts: Any) -> NDArray[np.bool_]:
    """Return bool [texts]: whether each id is the text of a number of 64 bits."""
    numbers: NDArray[np.bool_] = pc.match_substring_regex(texts, _CANONICAL_INT).to_numpy(zero_copy_only=False).copy()
    lengths = pc.binary_length(texts).to_numpy()
    for place in np.flatnonzero(numbers & (lengths >= _MOST_DIGITS)):
        numbers[place] = -(2**63) <= int(texts[int(place)].as_py()) < 2**63
    return numbers


def _normal(texts: Any) -> Any:
    """Apply the rule to distinct texts; returns the same array if nothing changes."""
    trimmed = pc.utf8_trim(texts, characters=_BLANKS)
    if pc.any(pc.match_substring(trimmed, ".")).as_py():
        trimmed = pc.replace_substring_regex(trimmed, _WHOLE_FLOAT, r"\1")
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING, trimmed.type))
    if pc.any(pc.ends_with(trimmed, "-")).as_py() or pc.any(pc.ends_with(trimmed, "-:")).as_py():
        missing = pc.or_(missing, pc.match_substring_regex(trimmed, _DASHES))
    if pc.any(missing).as_py():
        trimmed = pc.if_else(missing, None, trimmed)
    return texts if trimmed.equals(texts) else trimmed


def _texts(values: Any, name: str) -> Any:
    """Return distinct values as text."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_floating(kind):
        return _of_floats(values.cast(pa.float64()))
    try:
        if pa.types.is_fixed_size_binary(kind) and kind.byte_width == _UUID_BYTES:
            return _of_uuids(values)
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        raise NotTextError(
            f"the column {name} has bytes that are not UTF-8 text; ids are whole numbers or text"
        ) from None


def _of_floats(values: Any) -> Any:
    numbers = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
    whole = (np.abs(numbers) < _LARGEST_EXACT) & (np.floor(numbers) == numbers)
    as_numbers = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
    as_text = pc.if_else(pa.array(np.isfinite(numbers)), values.cast(pa.string()), None)
    return pc.if_else(pa.array(whole), as_numbers, as_text)


def _of_uuids(values: Any) -> Any:
    """Return UUIDs in their usual form, except where the bytes are themselves text."""
    as_bytes = values.to_pylist()
    if all(value is None or (value.isascii() and value.decode().isprintable()) for value in as_bytes):
        return values.cast(pa.string())
    return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in as_bytes], pa.string())


def _storage(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
