"""latest.json: what it says, and that nothing else is taken for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadPointerError
from service.s3.location import Location
from service.s3.pointer import LARGEST, Counts, Pointer, decode_pointer, pointer_decoder

PLACE = Location("bucket", "models/latest.json")
NEEDED = {"key": "models/als_model_20260131_021500.npz", "sha256": "0123456789abcdef" * 4, "size": 7}
NUMBERS = st.integers(0, 2**53)
POINTERS = st.builds(
    Pointer,
    key=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1)
    .filter(lambda name: name not in (".", "..", "latest.json"))
    .map("models/".__add__),
    version_id=st.none() | st.text(),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(1, 2**53),
    format=st.text(),
    created_at=st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),
    counts=st.none() | st.builds(Counts, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS),
    metrics=st.none() | st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)


def refused(content: bytes, place: Location = PLACE) -> str:
    """Return the sentence with which something is refused."""
    with pytest.raises(BadPointerError) as refusal:
        decode_pointer(content, place, pointer_decoder)
    sentence = str(refusal.value)
    assert sentence.startswith(str(place))
    assert "\n" not in sentence
    return sentence


def changed(**fields: Any) -> bytes:
    """Return a pointer in which some fields are others."""
    return json.dumps(NEEDED | fields).encode()


@given(POINTERS)
def test_a_pointer_is_read_as_it_was_written(pointer: Pointer) -> None:
    """Every field, laid out or not."""
    raw = msgspec.json.encode(pointer)
    assert decode_pointer(raw, PLACE, pointer_decoder) == pointer
    assert decode_pointer(msgspec.json.format(raw), PLACE, pointer_decoder) == pointer


def test_key_sha256_and_size_are_enough() -> None:
    """Other tools only need to write these three; the rest is unknown then."""
    pointer = decode_pointer(json.dumps(NEEDED).encode(), PLACE, pointer_decoder)
    assert (pointer.key, pointer.sha256, pointer.size) == tuple(NEEDED.values())
    assert (pointer.version_id, pointer.created_at, pointer.counts, pointer.metrics) == (None, None, None, None)


@pytest.mark.parametrize("field", list(NEEDED))
def test_none_of_the_three_may_be_missing(field: str) -> None:
    """The sentence names the one that is."""
    assert f"`{field}`" in refused(json.dumps({name: NEEDED[name] for name in NEEDED if name != field}).encode())


def test_a_field_that_is_not_known_does_no_harm() -> None:
    """A later als-serve may write more than this one reads."""
    assert decode_pointer(changed(by="someone"), PLACE, pointer_decoder) == decode_pointer(
        changed(), PLACE, pointer_decoder
    )


def test_times_have_a_zone() -> None:
    """Any zone; without one it would be another moment on every server, so it is refused."""
    pointer = decode_pointer(changed(created_at="2026-01-31T04:15:00+02:00"), PLACE, pointer_decoder)
    assert pointer.created_at == datetime(2026, 1, 31, 2, 15, tzinfo=UTC)
    assert "`$.created_at`" in refused(changed(created_at="2026-01-31T02:15:00"))


@pytest.mark.parametrize(
    "key",
    [
        *("other/als_model_20260131_021500.npz", "model.npz", "models", "/models/model.npz", "", "models/latest.json"),
        *("models/", "models/a/b.npz", "models/..", "models/../x", "models/a\nb", "models/\x1b[31m"),
    ],
)
def test_a_pointer_leads_to_something_beside_it(key: str) -> None:
    """Not out of its prefix, where others may write, and not to itself."""
    sentence = refused(changed(key=key))
    assert sentence == f"{PLACE} points to {key!r}, which is not in the same prefix; publish or promote a model."


def test_a_pointer_at_the_root_of_a_bucket_leads_to_what_is_at_the_root() -> None:
    """A prefix may be empty."""
    place = Location("bucket", "latest.json")
    assert decode_pointer(changed(key="als_model_1.npz"), place, pointer_decoder).key == "als_model_1.npz"
    for key in ("latest.json", "models/als_model_1.npz", ""):
        refused(changed(key=key), place)


@pytest.mark.parametrize("when", ["1999-12-31T00:00:00Z", "2200-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
def test_a_time_when_nothing_was_published_is_refused(when: str) -> None:
    """It becomes the time of the file, and not every file system, nor every clock, has such times."""
    assert "implausible created_at" in refused(changed(created_at=when))


def test_a_size_fits_into_a_file() -> None:
    """A size must fit in 63 bits."""
    assert "`$.size`" in refused(changed(size=2**63))


@pytest.mark.parametrize(
    "digest",
    ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", "sha256:" + "0" * 64, "٠" * 64, 0, None],
)
def test_a_sha256_has_one_form(digest: object) -> None:
    """64 digits, lower case: what is compared must be equal to the letter."""
    assert "`$.sha256`" in refused(changed(sha256=digest))


@pytest.mark.parametrize("size", [0, -1, 1.5, "7", None])
def test_a_size_is_a_positive_number_of_bytes(size: object) -> None:
    """An empty file is not a model."""
    assert "`$.size`" in refused(changed(size=size))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"<!DOCTYPE html><title>Sign in</title>", b"null", b"[]", b'"models/model.npz"', b"\xff\xfe{}", b"{"),
        *(changed()[:-1], changed() + b"}", changed().decode().encode("utf-16")),
    ],
)
def test_what_is_not_a_pointer_is_refused(content: bytes) -> None:
    """With a sentence that says what to do about it."""
    assert refused(content).endswith("; publish a model, or remove it.")


def test_what_is_nested_without_end_is_refused() -> None:
    """However deep the JSON is, even where nobody reads it."""
    refused(b'{"other":' + b"[" * (LARGEST - 10))
    refused(b"[" * LARGEST)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(Pointer.__struct_fields__) | st.text(), inner),
)


def leads_astray(content: bytes) -> bool:
    """Say whether something is taken for a pointer that leads out of its prefix."""
    try:
        pointer = decode_pointer(content, PLACE, pointer_decoder)
    except BadPointerError:
        return False
    return not pointer.key.startswith("models/")


@settings(max_examples=50)
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    """Whatever is at the pointer's place is a pointer to something beside it, or a BadPointerError."""
    assert not leads_astray(content)


@settings(max_examples=50)
@given(st.sampled_from(Pointer.__struct_fields__), JSON)
def test_no_value_of_a_field_raises_anything_else(field: str, value: object) -> None:
    """As above, where all but one field is as it should be."""
    assert not leads_astray(changed(**{field: value}))
