"""The import process of catalogs, which alone needs Arrow: turns an untrusted file of items into a directory of arrays.

``python -m service.children.catalog`` reads its job and answers as the import process of models does.
"""

from __future__ import annotations

from pathlib import Path

import numpy.ma  # noqa: F401 - Arrow asks for it, and nothing is imported once this process is confined
import pyarrow as pa

from service.children.jobs import Job, Outcome
from service.children.work import answered, opened, run, writing
from service.model.catalog.reading import read_catalog
from service.model.catalog.stored import write_catalog
from service.model.storage.source import path_of

#: For Arrow, which reads ahead on another thread; the limit counts all processes of the user.
_THREADS = 4096


def import_catalog(job: Job) -> None:
    """Read a catalog and write it to the working directory. Raises BadCatalogError, ModelRejectedError."""
    with opened(job) as file:
        found = read_catalog(path_of(job.source.path), file, job.keys)
    with writing(job):
        write_catalog(Path(), found, job.source)


def answer(job: Job) -> Outcome:
    """Do one import and return its outcome."""
    return answered(job, import_catalog)


def main() -> None:  # pragma: no cover - runs only in the child, where coverage is not measured
    """Do one job within its limits."""
    # Each thread reserves address space, which is limited.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    run(answer, _THREADS)


if __name__ == "__main__":
    main()
