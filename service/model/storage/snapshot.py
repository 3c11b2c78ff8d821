"""A model on disk: an immutable directory of .npy files and a manifest, published by one rename.

The directory is named ``<format version>-<first 16 hex of the source's sha256>``. Its files are mapped into memory, so
several processes share one copy in the page cache.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec
from numpy.typing import NDArray

from service.files import sync_directory, synced
from service.model.codes import Codes
from service.model.factors import Seen
from service.model.facts import TrainingFacts
from service.model.ids import IdKind, Ids
from service.model.model import Model, Popularity
from service.model.scoring.costs import QueryCosts
from service.model.scoring.score_ranges import ScoreRanges
from service.model.storage import array_files
from service.model.storage.array_files import FileFacts, damaged, map_array, resident, sha256_of, touch, write_array
from service.model.storage.layout import prove_layout, prove_names
from service.model.storage.source import Source

FORMAT_VERSION = 3
MANIFEST = "manifest.json"

_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class Manifest(msgspec.Struct, frozen=True):
    """The manifest: a snapshot's content and origin. Seconds are those of the import by phase, including writing."""

    format_version: int
    source: Source
    source_format: str
    created_at: datetime
    users: _Size
    items: _Size
    factors: Annotated[int, msgspec.Meta(ge=0)]
    rho: Annotated[float, msgspec.Meta(ge=0)]
    user_id_kind: IdKind
    item_id_kind: IdKind
    seen_pairs: Annotated[int, msgspec.Meta(ge=0)] | None
    regularization: float
    alpha: float
    scores: ScoreRanges
    costs: QueryCosts
    training: TrainingFacts | None
    seconds: dict[str, float]
    files: dict[str, FileFacts]
    activity_discount: float = 0.0

    @property
    def bytes(self) -> int:
        """Return the size of all arrays on disk."""
        return sum(facts.bytes for facts in self.files.values())

    @property
    def made_at(self) -> datetime:
        """Return when the model was trained according to its file, else when the file was written."""
        if self.training:
            return self.training.trained_at
        return self.source.signature.modified_at


_manifest = msgspec.json.Decoder(Manifest)


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot: a model and its manifest."""

    directory: Path
    manifest: Manifest
    model: Model

    @cached_property
    def version(self) -> str:
        """Return the model version that every answer names."""
        return self.manifest.source.version


class Analysis(NamedTuple):
    """Measurements of a model at import, and facts from its training."""

    scores: ScoreRanges
    costs: QueryCosts
    training: TrainingFacts | None = None


def directory_name(source: Source) -> str:
    """Return the name of a source's snapshot directory."""
    return f"{FORMAT_VERSION}-{source.version}"


def write(
    directory: Path, model: Model, analysis: Analysis, source: Source, source_format: str, seconds: dict[str, float]
) -> None:
    """Write a model into an empty directory, every file synced to disk. Raises OSError."""
    started = time.perf_counter()
    files = {name: write_array(directory, name, array) for name, array in arrays_of(model).items()}
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        source=source,
        source_format=source_format,
        created_at=datetime.now(UTC),
        users=len(model.user_ids),
        items=len(model.item_ids),
        factors=model.item_factors.shape[1],
        rho=model.codes.rho,
        user_id_kind=model.user_ids.kind,
        item_id_kind=model.item_ids.kind,
        seen_pairs=len(model.seen.items) if model.seen else None,
        regularization=model.regularization,
        alpha=model.alpha,
        scores=analysis.scores,
        costs=analysis.costs,
        training=analysis.training,
        seconds={**seconds, "write": round(time.perf_counter() - started, 6)},
        files=files,
        activity_discount=model.activity_discount,
    )
    with synced(directory / MANIFEST) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    sync_directory(directory)


def publish(staged: Path, directory: Path) -> None:
    """Rename a written directory to its final name. Raises OSError.

    If another process has published the same source meanwhile, its directory stays and ours remains staged.
    """
    try:
        staged.rename(directory)
    except OSError:
        if not (directory / MANIFEST).is_file():
            raise
    sync_directory(directory.parent)


def open_snapshot(directory: Path, *, ids_as_text: bool = False) -> Snapshot:
    """Map a snapshot directory into memory; sizes, types, shapes and indices are checked, but not every byte.

    ids_as_text: see :class:`~service.model.ids.Ids`. Raises SnapshotDamagedError, OSError.
    """
    manifest = read_manifest(directory)
    prove_names(directory, manifest.files, manifest)
    arrays = {name: map_array(directory / name, facts) for name, facts in manifest.files.items()}
    prove_layout(directory, arrays, manifest)
    return Snapshot(directory, manifest, _model(arrays, manifest, ids_as_text=ids_as_text))


def read_manifest(directory: Path) -> Manifest:
    """Read a snapshot's manifest. Raises SnapshotDamagedError, OSError."""
    return array_files.read_manifest(directory / MANIFEST, _manifest)


def verify(directory: Path) -> None:
    """Compare every file's sha256 with the manifest. Raises SnapshotDamagedError, OSError."""
    for name, facts in read_manifest(directory).files.items():
        path = directory / name
        if not path.is_file() or sha256_of(path) != facts.sha256:
            raise damaged(path, "is not what was written (sha256)")


def warm(snapshot: Snapshot) -> None:
    """Touch every page once, so that no request waits for the disk; runs without the interpreter lock."""
    for array in arrays_of(snapshot.model).values():
        touch(array)


def release(snapshot: Snapshot) -> None:
    """Take a snapshot's pages out of this process before its last reference goes, without the interpreter lock."""
    for array in arrays_of(snapshot.model).values():
        array_files.release(array)


def resident_bytes(snapshot: Snapshot) -> int:
    """Return the bytes of a snapshot's arrays whose pages are in memory; runs without the interpreter lock.

    These pages are in the page cache; the others must be read from disk. The kernel only tells processes that own the
    files or may write to them; to others it reports all pages as in memory.
    """
    return sum(resident(array) for array in arrays_of(snapshot.model).values())


def arrays_of(model: Model) -> dict[str, NDArray[Any]]:
    """Return every array of a model by file name."""
    assert model.item_ids.sorter is not None
    arrays: dict[str, NDArray[Any]] = {
        "user_ids.npy": model.user_ids.values,
        "user_factors.npy": model.user_factors,
        "item_ids.npy": model.item_ids.values,
        "item_sorter.npy": model.item_ids.sorter,
        "item_factors.npy": model.item_factors,
        "item_norms.npy": model.item_norms,
        "item_codes.npy": model.codes.codes,
        "item_steps.npy": model.codes.steps,
        "item_gram.npy": model.item_gram,
        "item_weights.npy": model.item_weights,
    }
    if model.seen and model.popularity:
        arrays |= {
            "seen_indptr.npy": model.seen.indptr,
            "seen_items.npy": model.seen.items,
            "seen_weights.npy": model.seen.weights,
            "popularity.npy": model.popularity.users,
            "popularity_order.npy": model.popularity.order,
        }
    return arrays


def _model(arrays: dict[str, NDArray[Any]], manifest: Manifest, *, ids_as_text: bool) -> Model:
    seen = manifest.seen_pairs is not None
    return Model(
        user_ids=Ids(arrays["user_ids.npy"], as_text=ids_as_text),
        item_ids=Ids(arrays["item_ids.npy"], arrays["item_sorter.npy"], ids_as_text),
        user_factors=arrays["user_factors.npy"],
        item_factors=arrays["item_factors.npy"],
        item_norms=arrays["item_norms.npy"],
        codes=Codes(arrays["item_codes.npy"], arrays["item_steps.npy"], manifest.rho),
        item_gram=arrays["item_gram.npy"],
        seen=Seen(arrays["seen_indptr.npy"], arrays["seen_items.npy"], arrays["seen_weights.npy"]) if seen else None,
        popularity=Popularity(arrays["popularity.npy"], arrays["popularity_order.npy"]) if seen else None,
        item_weights=arrays["item_weights.npy"],
        regularization=manifest.regularization,
        alpha=manifest.alpha,
        activity_discount=manifest.activity_discount,
    )
