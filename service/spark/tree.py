"""The files of a directory, opened in advance for a process that will lose permission."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import ConversionError
from service.training.data_files import DataFile, held_open
from service.untrusted import quote

_MOST_FILES = 20_000
_MOST_METADATA = 2**24
_SUCCESS = "_SUCCESS"
_CHECKSUM = re.compile(r"\.(part-.*)\.crc")


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory and the files in it and below, by their paths relative to ``root``; hidden files are left out."""

    root: Path
    files: Mapping[str, DataFile]

    def below(self, name: str) -> Tree:
        """Return a directory in this one, empty if it does not exist."""
        start = f"{name}/"
        inside = {path.removeprefix(start): file for path, file in self.files.items() if path.startswith(start)}
        return Tree(self.root / name, inside)

    def has(self, name: str) -> bool:
        """Return whether there is a file, or a directory with a file, of this name."""
        return name in self.files or any(path.startswith(f"{name}/") for path in self.files)

    def directories(self) -> list[str]:
        """Return the names of the directories directly in this one."""
        return sorted({path.partition("/")[0] for path in self.files if "/" in path})

    def parts(self) -> list[DataFile]:
        """Return the part files directly in this directory that are not empty, in the order of their names."""
        names = sorted(path for path in self.files if path.startswith("part-") and "/" not in path)
        return [self.files[name] for name in names if self.files[name].size]

    def prove_complete(self) -> None:
        """Raise ConversionError unless Spark has finished writing this directory."""
        if not self.files:
            raise ConversionError(f"{self.root} is missing, so the model is incomplete; save or copy it again, whole.")
        if _SUCCESS not in self.files:
            raise ConversionError(
                f"{self.root} has no file _SUCCESS, so Spark did not finish writing it; save or copy the model again."
            )

    def metadata(self) -> bytes:
        """Return the JSON that describes what is saved in this directory. Raises ConversionError."""
        found = self.below("metadata").parts()
        if len(found) != 1:
            count = "no part file" if not found else f"{len(found)} part files"
            raise ConversionError(f"{self.root}/metadata has {count}; Spark writes exactly one: save the model again.")
        with found[0].open() as file:
            return file.read(_MOST_METADATA)


@contextmanager
def opened_tree(root: Path) -> Iterator[Tree]:
    """Open every file of a directory for the duration of a block. Raises ConversionError, TrainingError."""
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise ConversionError(f"{root} {what}; name the directory in which Spark saved a model.")
    found = dict(_files_in(root))
    with held_open(list(found.values())) as files:
        yield Tree(root, dict(zip(found, files, strict=True)))


def _files_in(root: Path) -> Iterator[tuple[str, DataFile]]:
    count = 0
    for parent, directories, names in os.walk(root, onerror=_refuse_unreadable):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        there = [*names, *directories]
        for name in there:
            _prove_copied(Path(parent), name, there)
            path = Path(parent, name)
            if name.startswith(".") or not path.is_file():
                _prove_no_part(path)
                continue
            count += 1
            if count > _MOST_FILES:
                raise ConversionError(
                    f"{root} has over {_MOST_FILES} files, more than a model has; name the model's directory."
                )
            yield path.relative_to(root).as_posix(), DataFile(path, path.stat().st_size)


def _refuse_unreadable(error: OSError) -> None:
    raise ConversionError(f"{error.filename} cannot be read: {error.strerror}.") from None


def _prove_no_part(path: Path) -> None:
    """Raise ConversionError for a link that leads nowhere, or a pipe, where a part was: its rows would be missing."""
    if path.name.startswith("part-"):
        raise ConversionError(f"{path} is not a file, or a link to nothing; copy the model again.")


def _prove_copied(parent: Path, name: str, names: list[str]) -> None:
    """Raise ConversionError for a checksum, .NAME.crc, without its file: a copy has lost it."""
    found = _CHECKSUM.fullmatch(name)
    if found and found[1] not in names:
        raise ConversionError(f"{parent} has the checksum of {quote(found[1])} but not the file; copy the model again.")
