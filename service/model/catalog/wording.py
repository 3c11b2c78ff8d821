"""Texts as words: trimmed, cut, without repeats and sorted, or one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.model.catalog.catalog import Words
from service.model.factors import Int32

#: Longer texts and titles are cut at a character: they are for people, who filter by shorter ones.
MAX_TEXT_BYTES = 1024


def trimmed(texts: Any) -> Any:
    """Return an Arrow array of large strings without blanks around them, and null where nothing is left."""
    found = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(pc.binary_length(found), 0), None, found)


def cut(texts: Any) -> tuple[Any, int]:
    """Return an Arrow array of large strings, the long ones cut, and the number of these."""
    long = pc.fill_null(pc.greater(pc.binary_length(texts), MAX_TEXT_BYTES), False)
    count: int = pc.sum(long, min_count=0).as_py()
    if not count:
        return texts, 0
    shorter = [_cut(text.as_py()) for text in texts.filter(long)]
    return pc.replace_with_mask(texts, long, pa.array(shorter, texts.type)), count


def _cut(text: str) -> str:
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def in_order(texts: Any) -> Words:
    """Return texts one after another, "" for a missing one."""
    return _words(pc.fill_null(texts, ""))


def as_words(texts: Any, codes: Int32) -> tuple[Int32, Words]:
    """Return codes among distinct texts as numbers of sorted words, -1 where a text is missing.

    texts: an Arrow array of large strings, which may have nulls, repeats, and texts that no code refers to.
    """
    used = np.zeros(len(texts), np.bool_)
    used[codes[codes >= 0]] = True
    encoded = pc.if_else(pa.array(used), texts, None).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary.cast(pa.large_binary()))
    ranks = np.empty(len(order), np.int32)
    ranks[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return _ranked(encoded, ranks, codes), _words(encoded.dictionary.take(order))


def _ranked(encoded: Any, ranks: Int32, codes: Int32) -> Int32:
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.append(np.append(ranks, np.int32(-1)).take(places), np.int32(-1)).take(codes).astype(np.int32, copy=False)


def _words(texts: Any) -> Words:
    """Return a copy of an Arrow array of large strings without nulls, which may be a part of a longer one."""
    if not len(texts):
        return Words(np.zeros(1, np.int64), np.empty(0, np.uint8))
    _, starts, text = texts.buffers()
    found: NDArray[np.int64] = np.frombuffer(starts, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return Words(found - found[0], np.frombuffer(text, np.uint8)[found[0] : found[-1]])
