"""Every setting once: its variable, type, default and help; and the only reader of the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from service.errors import SettingsError

Check = Callable[[Any], bool]

#: What the importing child process is given of the environment: how to find Python and to spell text, no secret.
_CHILD_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")


def _setting(default: Any, help: str, *, allowed: str = "", check: Check | None = None) -> Any:  # noqa: A002 - the word every CLI uses
    return field(default=default, metadata={"help": help, "allowed": allowed, "check": check})


def _positive(default: float, help: str) -> Any:  # noqa: A002 - as above
    return _setting(default, help, allowed="more than 0", check=lambda value: value > 0)


def _at_least_zero(default: float, help: str) -> Any:  # noqa: A002 - as above
    return _setting(default, help, allowed="0 or more", check=lambda value: value >= 0)


def _one_of(default: str, help: str, *choices: str) -> Any:  # noqa: A002 - as above
    return _setting(default, help, allowed=" or ".join(choices), check=lambda value: value in choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. A field ``model_path`` is the variable ALS_MODEL_PATH and the flag --model-path."""

    model_path: Path = _setting(Path("als_model.pkl"), "The model file that is served and watched.")
    state_dir: Path = _setting(Path("als_state"), "Where imported models are kept between starts.")
    host: str = _setting("127.0.0.1", "The address to listen on.")
    port: int = _setting(
        8080,
        "The port to listen on; 0 takes a free one.",
        allowed="0 to 65535",
        check=lambda value: 0 <= value <= 65535,
    )
    management_port: int | None = _setting(
        None,
        "A port of its own for /healthz, /readyz and /metrics; 0 takes a free one.",
        allowed="0 to 65535",
        check=lambda value: value is None or 0 <= value <= 65535,
    )
    workers: int | Literal["auto"] = _setting(
        1,
        "Processes that answer; with more than 1, another one keeps the model; auto: one for each processor.",
        allowed="1 to 256, or auto",
        check=lambda value: value == "auto" or 1 <= value <= 256,
    )
    watch_seconds: float = _positive(2.0, "How often the model file is looked at, events or not.")
    keep_snapshots: int = _setting(
        3,
        "How many imported models stay on disk.",
        allowed="1 or more",
        check=lambda value: value >= 1,
    )
    max_n: int = _setting(
        1000,
        "The largest n a request may ask for.",
        allowed="1 to 10000",
        check=lambda value: 1 <= value <= 10_000,
    )
    fallback: Literal["popular", "none"] = _one_of(
        "popular", "What an unknown user gets: popular items, or none (404).", "popular", "none"
    )
    query_threads: int = _setting(
        2,
        "Threads for the queries that would hold the event loop for over a millisecond.",
        allowed="1 to 64",
        check=lambda value: 1 <= value <= 64,
    )
    drain_seconds: float = _at_least_zero(5.0, "After SIGTERM: how long to answer 'not ready' before closing the port.")
    import_timeout_seconds: float = _positive(600.0, "How long one model may take to import.")
    import_memory_mb: int = _at_least_zero(
        0, "Address space of the importing process in MB; 0 derives it from the file's size."
    )
    s3_uri: str | None = _setting(
        None, "Where models come from: s3://bucket/prefix/ (by latest.json, else the newest name) or s3://bucket/key."
    )
    s3_poll_seconds: float = _positive(30.0, "How often S3 is asked for a newer model, give or take a fifth.")
    s3_timeout_seconds: float = _positive(600.0, "How long one download from S3 may take.")
    training_data: Path | None = _setting(
        None, "Interactions (a file or a directory) to train on where no usable model is found at the start."
    )
    item_titles: Path | None = _setting(
        None, "A CSV file with a title for each item id (columns such as id and title), for answers that people read."
    )
    log_format: Literal["console", "json"] = _one_of(
        "console", "How log lines look: console or json.", "console", "json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _one_of(
        "info", "The least severe log lines shown.", "debug", "info", "warning", "error"
    )

    access_log: float = _setting(
        0.0,
        "The share of requests that are logged, at level info and without ids of users: 0 for none, 1 for all.",
        allowed="0 to 1",
        check=lambda value: 0 <= value <= 1,
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            check: Check | None = setting.metadata["check"]
            value = getattr(self, setting.name)
            if check is not None and not check(value):
                allowed = setting.metadata["allowed"]
                raise SettingsError(f"{variable(setting.name)} is {value!r}; allowed is {allowed}.")


def variable(name: str) -> str:
    """Return the environment variable of a setting: ``model_path`` -> ALS_MODEL_PATH."""
    return "ALS_" + name.upper()


def refuse_unknown_variables() -> None:
    """Raise SettingsError if the environment has an ALS_* variable that is no setting (most likely a typo)."""
    known = [variable(setting.name) for setting in fields(Settings)]
    for name in sorted(os.environ):
        if name.startswith("ALS_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
            raise SettingsError(f"The environment variable {name} is no setting of als-serve; {remedy}")


def child_environment() -> Mapping[str, str]:
    """Return the environment of a process that reads untrusted bytes: no secret, and nothing that Python heeds."""
    kept = {name: os.environ[name] for name in os.environ if name in _CHILD_VARIABLES}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}
