"""A corpus of model files that must be refused, each with its exact reason; none may ever be executed.

``{path}`` in a sentence stands for the path of the file. Those of :func:`bomb` are only for a process under
limits, and their sentence is the importer's own.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.hostile.archives import archives
from tests.support.hostile.bombs import BOMBS, bomb
from tests.support.hostile.file import HostileFile
from tests.support.hostile.naming import executions, other_libraries, reaching
from tests.support.hostile.streams import not_models, streams
from tests.support.hostile.structures import arrays, calls, changes, dtypes, factors

__all__ = ["BOMBS", "HostileFile", "bomb", "corpus"]


def corpus(marker: Path) -> dict[str, HostileFile]:
    """Return every file by a name that says what it does; those that run a command would make ``marker``."""
    return {
        **executions(marker),
        **reaching(marker),
        **other_libraries(),
        **changes(),
        **dtypes(),
        **arrays(),
        **factors(),
        **calls(),
        **streams(),
        **not_models(),
        **archives(),
    }
