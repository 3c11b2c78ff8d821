"""Texts as words: whatever part of an Arrow array they are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from service.model.catalog.wording import in_order


def test_a_part_of_an_array_is_read_alone() -> None:
    """Arrow's arrays may share one text, of which each has a part."""
    texts = pa.array(["one", "two", None, "three"], pa.large_string())
    assert in_order(texts[1:3]).at(np.arange(2)) == ["two", ""]
    assert in_order(texts[:2]).at(np.arange(2)) == ["one", "two"]
    assert in_order(texts[1:2]).text.tobytes() == b"two"
