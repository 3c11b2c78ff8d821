"""The comparison before a model is published: with the one that servers follow, by the gates and on held-out data."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.app import gate_policy_of
from service.cli.evaluation import drops
from service.cli.models import imported
from service.errors import (
    BadPointerError,
    DownloadCorruptError,
    DownloadTooLargeError,
    ModelRejectedError,
    PublishError,
    S3ArchivedError,
    S3NotFoundError,
    SettingsError,
)
from service.model.model import Model
from service.model.storage.snapshot import Snapshot
from service.s3.location import Location
from service.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

_METRICS = ("precision", "recall", "ndcg", "map")
_DROP = re.compile(rf"({'|'.join(_METRICS)})=(\d+(?:\.\d+)?)%")
#: Why there may be nothing to compare with; a new model is the remedy.
_BROKEN = (
    *(S3NotFoundError, BadPointerError, DownloadCorruptError, DownloadTooLargeError, S3ArchivedError),
    ModelRejectedError,
)


class MaxDrop(click.ParamType[tuple[str, float]]):
    """A metric and a share, such as ndcg=5%."""

    name = "METRIC=PERCENT%"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, float]:
        """Return the metric and the share. Raises BadParameter."""
        found = _DROP.fullmatch(str(value))
        if not found:
            self.fail(
                f"{value!r} is not one of {', '.join(_METRICS)} and a percentage, such as ndcg=5%.", param, context
            )
        return found[1], float(found[2]) / 100


@dataclass(frozen=True, slots=True)
class Rules:
    """When a model is published: ``most`` are the shares by which metrics on ``test`` may drop.

    Raises SettingsError if there is only one of the two.
    """

    test: Path | None = None
    most: Mapping[str, float] | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if bool(self.test) != bool(self.most):
            raise SettingsError("--test and --max-drop only work together; give both, as in --max-drop ndcg=5%.")

    def objections(self, new: Model, current: Model) -> dict[str, str]:
        """Return what is worse on the test, by metric. Raises TrainingError."""
        if not self.test or not self.most:
            return {}
        found = drops(self.test, new, current, list(self.most))
        return {
            metric: f"its {metric} on {self.test} is {drop:.1%} lower, and {self.most[metric]:.1%} are allowed"
            for metric, drop in found.items()
            if drop is not None and drop > self.most[metric]
        }


async def compare_with_followed(
    client: S3Client, prefix: Location, settings: Settings, new: Snapshot, rules: Rules
) -> list[str]:
    """Compare a model with the one that servers follow; return the gates and metrics past which it was forced.

    Prints warnings on standard error. Raises PublishError if the model must not be published, S3Error, TrainingError.
    """
    policy = gate_policy_of(settings)
    async with _followed(client, prefix, settings, new) as current:
        results = policy.judge(await asyncio.to_thread(policy.examine, new, current))
        objections: dict[str, str] = {result.gate: result.detail for result in results if result.result == "blocked"}
        if current:
            objections |= await asyncio.to_thread(rules.objections, new.model, current.model)
    for result in results:
        if result.result == "warned":
            click.echo(f"⚠️ Next to the followed model, {result.detail}", err=True)
    if objections and not rules.force:
        raise PublishError(
            f"{settings.model_path} is not published: {'; '.join(objections.values())}. If that is right, add --force."
        )
    for detail in objections.values():
        click.echo(f"⚠️ Published by force: {detail}", err=True)
    return list(objections)


@asynccontextmanager
async def _followed(
    client: S3Client, prefix: Location, settings: Settings, new: Snapshot
) -> AsyncIterator[Snapshot | None]:
    """Download and import the followed model for the length of a block; yield None if there is no other."""
    async with AsyncExitStack() as stack:
        current = None
        try:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix=".als-compare-"))
            if path := await _downloaded(client, prefix, settings, new, Path(scratch)):
                current = await stack.enter_async_context(imported(replace(settings, model_path=path)))
        except _BROKEN as error:
            click.echo(f"⚠️ Not compared with the followed model: {error}", err=True)
        yield current


async def _downloaded(
    client: S3Client, prefix: Location, settings: Settings, new: Snapshot, scratch: Path
) -> Path | None:
    from service.cli.progress import bar
    from service.s3.failures import deadline
    from service.s3.fetching import fetch
    from service.s3.finding import find

    try:
        found = await find(client, prefix, None)
    except S3NotFoundError:  # the first model of all
        return None
    assert found  # no version is known yet, so it cannot be unchanged
    if found.sha256 == new.manifest.source.sha256:
        return None
    if found.size > settings.max_model_mb * 2**20:
        raise DownloadTooLargeError(f"{prefix.at(found.key)} has more than {settings.max_model_mb} MB.")
    path = scratch / "model"
    async with deadline(settings.s3_timeout_seconds, prefix):
        with bar(f"⬇️ Downloading {found.key} to compare", found.size) as on_bytes:
            await fetch(client, prefix.bucket, found, path, on_bytes)
    return path
