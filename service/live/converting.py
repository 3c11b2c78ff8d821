"""The parent's side of a conversion: a confined process reads the directory, and this one puts the file in place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import msgspec

from service.children.jobs import ConversionJob, Converted, Failed, Message, Progress, Remark
from service.errors import ConversionError
from service.live.children import child_process, end_of
from service.live.control_groups import memory_left
from service.live.importing import ImportLimits
from service.model.conversion import Conversion, Report
from service.model.formats.table import UNRECOGNIZED, format_of
from service.model.storage.source import text_of, written_model
from service.threads import in_threads

_MODULE = "service.children.converting"
_MEGABYTE = 2**20
_message = msgspec.json.Decoder(Message)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The numbers of a converted model, and sentences for people."""

    converted: Converted
    remarks: list[str]


async def convert_in_child(
    conversion: Conversion, out: Path, limits: ImportLimits, report: Report = lambda _phase, _done, _total: None
) -> Outcome:
    """Convert a model of Spark to a model file at ``out``, which is replaced atomically.

    Raises ConversionError, and TrainingError if the file cannot be written.
    """
    await asyncio.to_thread(_prove_target, out)
    async with in_threads(written_model(out)) as file:
        job = await asyncio.to_thread(_job, conversion, file.fileno(), limits)
        return await _run(job, limits, report)


def _prove_target(out: Path) -> None:
    if out.exists() and not (out.is_file() and format_of(out) != UNRECOGNIZED):
        raise ConversionError(f"{out} is not a model and would be overwritten; name another path.")


def _job(conversion: Conversion, output: int, limits: ImportLimits) -> ConversionJob:
    memory, seconds = limits.memory_mb * _MEGABYTE, max(1, int(limits.timeout_seconds))
    return ConversionJob(conversion.absolute(), output, memory, memory_left(), seconds)


async def _run(job: ConversionJob, limits: ImportLimits, report: Report) -> Outcome:
    # Arrow's other allocators reserve more than they use, which would count.
    environment = {**limits.environment, "ARROW_DEFAULT_MEMORY_POOL": "system"}
    task = msgspec.json.encode(job, enc_hook=text_of)
    try:
        async with (
            asyncio.timeout(limits.timeout_seconds),
            child_process(_MODULE, task, environment, pass_fds=(job.output,), in_background=False) as child,
        ):
            ended, remarks = await _listen(child, report)
            returncode = await child.wait()
    except TimeoutError:
        raise ConversionError(
            f"{job.model} was not converted within {limits.timeout_seconds:g} s; raise ALS_IMPORT_TIMEOUT_SECONDS if "
            "it is that large."
        ) from None
    except (OSError, ValueError, msgspec.MsgspecError) as error:  # a line that is too long or malformed
        raise ConversionError(f"The conversion process for {job.model} failed ({type(error).__name__}).") from None
    if isinstance(ended, Converted) and returncode == 0:
        return Outcome(ended, remarks)
    if isinstance(ended, Failed):
        raise ConversionError(ended.detail)
    why = end_of(returncode).partition(";")[0]  # the rest speaks of a log, but its output was shown
    raise ConversionError(f"The conversion process for {job.model} {why}.")


async def _listen(child: asyncio.subprocess.Process, report: Report) -> tuple[Converted | Failed | None, list[str]]:
    """Read a child's messages to the end; return the outcome that it reports, if any, and its remarks."""
    assert child.stdout
    ended: Converted | Failed | None = None
    remarks: list[str] = []
    async for line in child.stdout:
        match _message.decode(line):
            case Progress(phase, done, total):
                report(phase, done, total)
            case Remark(text):
                remarks.append(text)
            case Converted() | Failed() as outcome:
                ended = outcome
    return ended, remarks
