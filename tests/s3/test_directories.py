"""Directories in S3: the same files below a directory, nothing outside it, and not too much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.errors import DownloadTooLargeError, ModelPathError, S3ConfigurationError
from service.s3 import directories
from service.s3.directories import fetch_directory, list_directory
from tests.support.bucket import Models, nobody

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

FILES = {"metadata/part-00000": b"{}", "metadata/_SUCCESS": b"", "userFactors/part-0.parquet": b"PAR1"}


async def put(models: Models, *more: str) -> None:
    """Put a directory, and what is not part of it."""
    for name, content in FILES.items():
        await models.put(name, content)
    for name in ("metadata/.part-00000.crc", *more):
        await models.put(name)


def files_in(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_a_directory_is_downloaded_as_it_is(client: S3Client, models: Models, tmp_path: Path) -> None:
    """Every object becomes a file, also an empty one; hidden files are left out."""
    await put(models)
    counted: list[int] = []
    objects = await list_directory(client, models.prefix, 1)
    await fetch_directory(client, models.prefix, objects, tmp_path, counted.append)
    assert files_in(tmp_path) == FILES
    assert sum(counted) == sum(map(len, FILES.values()))


@pytest.mark.parametrize("name", ["../outside", "a//b", "./x"])
async def test_no_name_leads_elsewhere(client: S3Client, models: Models, tmp_path: Path, name: str) -> None:
    """A name in S3 can be anything."""
    objects = [{"Key": models.at(name).key, "Size": 1, "ETag": "x"}]
    with pytest.raises(S3ConfigurationError, match="has an object whose name is not a path"):
        await fetch_directory(client, models.prefix, objects, tmp_path, nobody)  # type: ignore[arg-type] # as listed
    assert files_in(tmp_path) == {}


async def test_a_directory_is_bounded(client: S3Client, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither more bytes nor more objects than a model has are downloaded."""
    await put(models)
    with pytest.raises(DownloadTooLargeError, match=r"has 6 bytes, more than the 0 MB that a model may have"):
        await list_directory(client, models.prefix, 0)
    monkeypatch.setattr(directories, "_MOST_OBJECTS", 2)
    with pytest.raises(S3ConfigurationError, match=r"over 2 objects.*; name a model's directory\.$"):
        await list_directory(client, models.prefix, 1)


async def test_a_directory_that_cannot_be_written_is_said(client: S3Client, models: Models, tmp_path: Path) -> None:
    """The sentence names the directory and why."""
    await put(models)
    (tmp_path / "metadata").touch()
    objects = await list_directory(client, models.prefix, 1)
    with pytest.raises(ModelPathError, match=r"cannot be written to .*: (File exists|Not a directory)\.$"):
        await fetch_directory(client, models.prefix, objects, tmp_path, nobody)
