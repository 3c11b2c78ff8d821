"""The storage of a search's trials: one Optuna study in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import TrainingError

if TYPE_CHECKING:
    from optuna.study import Study

_STUDY = "als-serve"


@contextmanager
def study_in(storage: Path) -> Iterator[Study]:
    """Open the study in a file, or create one. Raises TrainingError if the file cannot store it, now or later."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        _may_be_a_study(storage)
        yield _opened(storage)
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError) as error:
        raise TrainingError(
            f"{storage} cannot hold a study ({_root(error)}); name another --storage file, in a writable directory."
        ) from error


def _root(error: BaseException) -> BaseException:
    """Return SQLite's message, which the layers above bury in paragraphs."""
    return error if error.__cause__ is None else _root(error.__cause__)


def _may_be_a_study(storage: Path) -> None:
    """Raise TrainingError for another program's database, to which Optuna would add its tables."""
    with closing(sqlite3.connect(storage)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "studies" not in tables:
        raise TrainingError(f"{storage} is another program's database; name another --storage file.")


def _opened(storage: Path) -> Study:
    import optuna
    from sqlalchemy.pool import NullPool

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A path in a URL would need quoting, which depends on the version of SQLAlchemy; and without a pool, nothing stays
    # open between transactions.
    engine = {"creator": lambda: sqlite3.connect(storage), "poolclass": NullPool}
    try:
        opened = optuna.storages.RDBStorage("sqlite://", engine)
    except RuntimeError as error:
        raise TrainingError(f"{storage} was made by another version of Optuna; name another --storage file.") from error
    return optuna.create_study(storage=opened, study_name=_STUDY, direction="maximize", load_if_exists=True)
