"""Where models are in S3, and what they are called there."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.s3.location import Location, model_key, parse_location, parse_prefix, timestamp_of

BUCKETS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{1,80}", fullmatch=True)
KEYS = st.text()
SECONDS = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC))
FORMATS = st.sampled_from(["npz", "pickle"])


@given(BUCKETS, KEYS)
def test_a_location_is_read_as_it_was_written(bucket: str, key: str) -> None:
    """Any bucket and key, whatever characters it has, is what its URI is read as."""
    location = Location(bucket, key)
    assert parse_location(str(location)) == location


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/models/", "s3://bucket/a/b/"])
def test_what_ends_with_a_slash_is_a_prefix(uri: str) -> None:
    """A whole bucket is one, too; its models are directly under it."""
    assert parse_location(uri).is_prefix
    assert parse_prefix(uri) == parse_location(uri)


@pytest.mark.parametrize("uri", ["s3://bucket/model", "s3://bucket/models/model.npz"])
def test_what_does_not_is_an_object(uri: str) -> None:
    """Where a prefix is needed, it is refused with a sentence that says how to write one."""
    assert not parse_location(uri).is_prefix
    with pytest.raises(SettingsError) as refusal:
        parse_prefix(uri)
    assert str(refusal.value) == f"{uri} is one object; write {uri}/ for a prefix."


@pytest.mark.parametrize(
    "uri",
    [
        *("", "bucket/key", "/models/", "s3:/bucket/key", "s3://", "s3:///key", "s3://b/key", "S3://bucket/key"),
        *("https://bucket/key", "s3://buc ket/key", "s3://-bucket/key", "s3://bücket/key", "s3://bucket?versions"),
    ],
)
def test_what_is_no_uri_is_refused(uri: str) -> None:
    """With a sentence that quotes it, and shows what one looks like."""
    with pytest.raises(SettingsError) as refusal:
        parse_location(uri)
    assert str(refusal.value) == f"{uri!r} is not an S3 location; write s3://bucket/prefix/ or s3://bucket/key."


@pytest.mark.parametrize(
    ("key", "parent"), [("a/b/model", "a/b/"), ("model", ""), ("a/b/", "a/b/"), ("/model", "/"), ("", "")]
)
def test_a_parent_is_what_an_object_is_directly_under(key: str, parent: str) -> None:
    """In the same bucket; a prefix is its own."""
    assert Location("bucket", key).parent == Location("bucket", parent)
    assert Location("bucket", key).parent.is_prefix


@given(KEYS, st.text(string.ascii_letters))
def test_another_key_is_in_the_same_bucket(key: str, other: str) -> None:
    """Only the key differs."""
    assert Location("bucket", key).at(other) == Location("bucket", other)


@pytest.mark.parametrize(("model_format", "extension"), [("npz", "npz"), ("pickle", "pkl")])
def test_a_model_is_called_by_its_time(model_format: str, extension: str) -> None:
    """``als_model_YYYYMMDD_HHMMSS`` under the prefix, with the extension of its format."""
    made_at = datetime(2026, 1, 31, 2, 15, 0, tzinfo=UTC)
    key = model_key(Location("bucket", "models/"), made_at, model_format)
    assert key == f"models/als_model_20260131_021500.{extension}"


@given(SECONDS, FORMATS, st.sampled_from(["", "models/", "als_model_20990101_000000/"]))
def test_a_timestamp_is_read_from_a_models_own_name(made_at: datetime, model_format: str, prefix: str) -> None:
    """What the name was made from is found in it, whatever the directories are called."""
    key = model_key(Location("bucket", prefix), made_at, model_format)
    assert timestamp_of(key) == f"{made_at:%Y%m%d_%H%M%S}"


@given(SECONDS, st.integers(1, 10**9), FORMATS, FORMATS)
def test_what_is_published_later_has_a_greater_timestamp(
    made_at: datetime, seconds: int, earlier_format: str, later_format: str
) -> None:
    """By a second is enough, and the format makes no difference."""
    prefix = Location("bucket", "models/")
    try:
        later = made_at + timedelta(seconds=seconds)
    except OverflowError:  # after the year 9999
        return
    assert timestamp_of(model_key(prefix, later, later_format)) > timestamp_of(
        model_key(prefix, made_at, earlier_format)
    )


@pytest.mark.parametrize(
    "name",
    [
        *("als_model_final.npz", "als_model_20260131.npz", "als_model_20260131_0215.npz", "model.npz", ""),
        *("als_model_20260131_0215001.npz", "my_als_model_20260131_021500.npz", "als_model_٢٠٢٦٠١٣١_٠٢١٥٠٠.npz"),
    ],
)
def test_another_name_has_no_timestamp(name: str) -> None:
    """It counts as older than any that has one."""
    assert timestamp_of("models/" + name) == "" < "00000000_000000"
