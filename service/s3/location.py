"""Locations and names of models in S3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from service.errors import SettingsError
from service.model.formats.table import FORMATS

#: The object that names the latest model of a prefix.
LATEST = "latest.json"
#: The object that names the candidate of a prefix, if there is one.
CANDIDATE = "candidate.json"
MODEL_PREFIX = "als_model_"
_EXTENSIONS = {known.name: known.extensions for known in FORMATS}
_MODEL_ENDINGS = tuple(f".{extension}" for known in FORMATS for extension in known.extensions)
#: The names that count under a prefix, for people.
MODEL_NAMES = f"{MODEL_PREFIX}*{', '.join(_MODEL_ENDINGS)}"
_TIMESTAMP = "%Y%m%d_%H%M%S"
_NAME = re.compile(rf"{MODEL_PREFIX}(\d{{8}}_\d{{6}})(?!\d)", re.ASCII)
_URI = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a key, or a prefix of keys, which ends with "/" or is empty."""

    bucket: str
    key: str

    @property
    def is_prefix(self) -> bool:
        """Return whether this is a prefix rather than one model."""
        return self.key == "" or self.key.endswith("/")

    @property
    def parent(self) -> Location:
        """Return the prefix that directly contains an object."""
        return Location(self.bucket, self.key[: self.key.rfind("/") + 1])

    def at(self, key: str) -> Location:
        """Return another key of the same bucket."""
        return Location(self.bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def parse_location(uri: str) -> Location:
    """Parse ``s3://bucket/key`` or ``s3://bucket/prefix/``. Raises SettingsError."""
    found = _URI.fullmatch(uri)
    if not found:
        raise SettingsError(f"{uri!r} is not an S3 location; write s3://bucket/prefix/ or s3://bucket/key.")
    return Location(found[1], found[2] or "")


def parse_prefix(uri: str) -> Location:
    """Parse ``s3://bucket/prefix/``. Raises SettingsError if it is not a prefix."""
    location = parse_location(uri)
    if not location.is_prefix:
        raise SettingsError(f"{uri} is one object; write {uri}/ for a prefix.")
    return location


def model_key(prefix: Location, made_at: datetime, model_format: str) -> str:
    """Return the key of a model published at this time (UTC)."""
    return f"{prefix.key}{MODEL_PREFIX}{made_at:{_TIMESTAMP}}.{_EXTENSIONS[model_format][0]}"


def is_model(name: str) -> bool:
    """Return whether an object of this name is a model, rather than another file next to models."""
    return name.startswith(MODEL_PREFIX) and name.endswith(_MODEL_ENDINGS)


def timestamp_of(key: str) -> str:
    """Return the timestamp in a model's name, "" if it has none; later ones are greater."""
    found = _NAME.match(key.rpartition("/")[2])
    return found[1] if found else ""
