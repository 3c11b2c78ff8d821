"""The conversion process: turns a directory of Spark into a model file; Parquet is untrusted and read in C++.

``python -m service.children.converting`` reads one job as a line of JSON on standard input, and writes its progress and
outcome to standard output as lines of JSON. It ends with its parent.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback

import msgspec
import pyarrow as pa

from service.children.jobs import ConversionJob, Converted, Failed, Remark
from service.children.lifeline import confine
from service.children.telling import Reporter, Tell
from service.errors import AlsServeError
from service.model.storage.source import read_path
from service.spark.converting import Inputs, convert, opened, write

_MEGABYTE = 2**20
#: Text and Parquet can be much smaller than what is in them.
_MEMORY_PER_BYTE, _LEAST_MEMORY = 16, 1024 * _MEGABYTE
#: For the threads of Arrow; the limit counts all processes of the user.
_THREADS = 4096
_SHOWN_CALLS = 10
_job = msgspec.json.Decoder(ConversionJob, dec_hook=read_path)


def work(job: ConversionJob, tell: Tell, *, confined: bool = True) -> None:
    """Convert one model and send the outcome, whatever a crafted file makes a library raise."""
    memory = job.memory_bytes
    try:
        with opened(job.conversion) as inputs:
            memory = memory or _MEMORY_PER_BYTE * inputs.bytes + _LEAST_MEMORY
            if confined:  # pragma: no cover - runs only in the child, where coverage is not measured
                _confine(job, memory)
            tell(_convert(job, inputs, tell))
    except MemoryError:
        needed = f"{job.model} needs more than {memory // _MEGABYTE} MB of memory to convert"
        tell(Failed(f"{needed}; raise ALS_IMPORT_MEMORY_MB if you trust the files."))
    except AlsServeError as error:
        tell(Failed(error.marked))
    except OSError as error:
        tell(Failed(f"The model cannot be written: {error.strerror}."))
    except Exception as error:
        # Where it happened goes to standard error, but no message, which could quote a file.
        traceback.print_tb(error.__traceback__, -_SHOWN_CALLS)
        tell(Failed(f"The conversion of {job.model} failed with {type(error).__name__}; save the model again."))


def _convert(job: ConversionJob, inputs: Inputs, tell: Tell) -> Converted:
    model, remarks = convert(inputs, Reporter(tell))
    for sentence in remarks:
        tell(Remark(sentence))
    with os.fdopen(job.output, "wb") as file:
        write(model, file)
    pairs = None if model.seen is None else len(model.seen.items)
    return Converted(len(model.user_ids), len(model.item_ids), model.user_factors.shape[1], pairs)


def _confine(job: ConversionJob, memory: int) -> None:  # pragma: no cover - as above
    private = memory if job.private_bytes is None else min(memory, job.private_bytes)
    limits = {
        # Not the address space, of which Arrow's threads reserve much more than they use.
        resource.RLIMIT_DATA: (private, private),
        resource.RLIMIT_CPU: (job.cpu_seconds, job.cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (memory, memory),  # no model is larger on disk than in memory
        resource.RLIMIT_NPROC: (_THREADS, _THREADS),
    }
    confine(sys.stdin.fileno(), limits)


def main() -> None:  # pragma: no cover - as above
    """Do one job."""
    job = _job.decode(sys.stdin.buffer.readline())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each part of the model is an open file
    pa.set_cpu_count(1)
    # Output of libraries goes to standard error: standard output is only for messages.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        work(job, lambda message: answers.write(msgspec.json.encode(message) + b"\n"))


if __name__ == "__main__":
    main()
