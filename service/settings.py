"""The settings: name, type, default and help of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from service.errors import SettingsError

Check = Callable[[Any], bool]

_EXPERIMENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ORIGIN = re.compile(r"\*|https?://[^\s/,?#@]+")
_HOSTS = re.compile(r"(?: *(?:[\w.-]+|\[[\da-fA-F:.]+\]) *(?:,|$))+(?<!,)")


def _setting(default: Any, text: str, *, allowed: str = "", check: Check | None = None) -> Any:
    return field(default=default, metadata={"help": text, "allowed": allowed, "check": check})


def _positive(default: float, text: str) -> Any:
    return _setting(default, text, allowed="more than 0", check=lambda value: value > 0)


def _at_least_zero(default: float, text: str) -> Any:
    return _setting(default, text, allowed="0 or more", check=lambda value: value >= 0)


def _share(default: float, text: str) -> Any:
    return _setting(default, text, allowed="0 to 1", check=lambda value: 0 <= value <= 1)


def _one_of(default: str, text: str, *choices: str) -> Any:
    return _setting(default, text, allowed=" or ".join(choices), check=lambda value: value in choices)


def _gate(default: str, text: str) -> Any:
    return _one_of(default, text, "off", "warn", "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. A field ``model_path`` is the variable ALS_MODEL_PATH and the flag --model-path."""

    model_path: Path = _setting(Path("als_model.pkl"), "The path of the model file.")
    state_dir: Path = _setting(Path("als_state"), "Where imported models are kept between starts.")
    host: str = _setting("127.0.0.1", "The address to listen on.")
    port: int = _setting(
        8080,
        "The port to listen on; 0 picks a free one.",
        allowed="0 to 65535",
        check=lambda value: 0 <= value <= 65535,
    )
    management_port: int | None = _setting(
        None,
        "A separate port for /healthz, /readyz, /metrics and /v1/admin; 0 picks a free one.",
        allowed="0 to 65535",
        check=lambda value: value is None or 0 <= value <= 65535,
    )
    allow_origins: str | None = _setting(
        None,
        "Origins of web pages that may call the API (CORS), separated by commas; * allows all.",
        allowed="* or origins such as https://shop.example",
        check=lambda value: not value or all(map(_ORIGIN.fullmatch, value.split(","))),
    )
    allowed_hosts: str | None = _setting(
        None,
        "Hosts by which clients may address the server; other requests get 421. Unset: any.",
        allowed="names and addresses without ports, separated by commas",
        check=lambda value: value is None or _HOSTS.fullmatch(value) is not None,
    )
    workers: int | Literal["auto"] = _setting(
        1,
        "Processes that answer requests. If more than 1, another process keeps the model. auto: one per CPU.",
        allowed="1 to 256, or auto",
        check=lambda value: value == "auto" or 1 <= value <= 256,
    )
    watch_seconds: float = _positive(2.0, "How often to check the model file, even without file events.")
    keep_snapshots: int = _setting(
        3,
        "How many imported models to keep on disk.",
        allowed="1 or more",
        check=lambda value: value >= 1,
    )
    max_model_mb: int = _setting(
        65_536,
        "The size of the largest model file that is read, in MB.",
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
        "popular",
        "What an unknown user gets: popular items if the model has them (popular), or a 404 (none).",
        "popular",
        "none",
    )
    ids: Literal["native", "text"] = _one_of(
        "native",
        "How answers write ids that are numbers: as numbers (native), or as text, since JavaScript rounds numbers "
        "above 2^53. Requests may always send either.",
        "native",
        "text",
    )
    query_threads: int = _setting(
        2,
        "Threads for queries that would block the event loop for over a millisecond.",
        allowed="1 to 64",
        check=lambda value: 1 <= value <= 64,
    )
    queue_ms: float = _setting(
        100.0,
        "Milliseconds that such a query may wait for a thread before it is refused (503); batches and long "
        "explanations may wait 50 times as long.",
        allowed="more than 0, at most 60000",
        check=lambda value: 0 < value <= 60_000,
    )
    cache_mb: int = _at_least_zero(
        16,
        "MB of memory for answers that are given again to equal requests, until the model changes, and as many for a "
        "candidate; 0 keeps none.",
    )
    drain_seconds: float = _at_least_zero(5.0, "How long to report 'not ready' after SIGTERM before closing the port.")
    import_timeout_seconds: float = _positive(600.0, "How long one model may take to import.")
    import_memory_mb: int = _at_least_zero(
        0, "Address space limit of the import process in MB; 0 derives it from the file's size."
    )
    pickle_keys: str | None = _setting(
        None,
        "Keys of a pickled dict that have other names, as in user_id_map=user_mapping, product_id_map=items.",
    )
    gate_counts: Literal["off", "warn", "block"] = _gate(
        "block", "What happens to a model with far fewer users or items than the served one."
    )
    gate_factors: Literal["off", "warn", "block"] = _gate(
        "block", "What happens to a model in which most users, or most items, have the same factors, such as zeros."
    )
    gate_scores: Literal["off", "warn", "block"] = _gate(
        "warn", "What happens to a model whose scores are in another range than those of the served one."
    )
    gate_overlap: Literal["off", "warn", "block"] = _gate(
        "warn", "What happens to a model that recommends little of what the served one does."
    )
    gate_golden: Literal["off", "warn", "block"] = _gate(
        "block", "What happens to a model that does not answer the requests in ALS_GOLDEN as expected."
    )
    min_count_share: float = _share(
        0.5, "The least numbers of users and of items, and of factors of their own, relative to the served model."
    )
    max_score_shift: float = _positive(
        1.0, "How far the scores of recommendations may move, in standard deviations of the served model's."
    )
    min_overlap: float = _share(
        0.4, "The least share of a user's top 10 that the served model recommends too, on average of 1,000 users."
    )
    golden: Path | None = _setting(
        None, "A file of requests, one a line as JSON, that a new model must answer as expected before it is served."
    )
    probation_seconds: float = _at_least_zero(
        60.0, "How long a new model's answers are watched, to return to the one before if they are bad; 0 for never."
    )
    probation_excess: float = _share(
        0.05, "By how much the share of failed or empty answers may exceed that of the model before."
    )
    candidate_path: Path | None = _setting(
        None, "The path of a candidate: a second model, which a part of the users gets instead of the served one."
    )
    candidate_percent: float = _setting(
        0.0,
        "The percentage of users who get the candidate, unless candidate.json in S3 or the admin API says otherwise.",
        allowed="0 to 100",
        check=lambda value: 0 <= value <= 100,
    )
    candidate_shadow: float = _share(
        0.0,
        "The share of requests that the candidate also answers in the background, for comparison only; unless "
        "candidate.json in S3 says otherwise.",
    )
    experiment: str = _setting(
        "default",
        "The name of the experiment; under another name, other users get the candidate.",
        allowed="1 to 64 letters, digits, dots, - and _",
        check=lambda value: _EXPERIMENT.fullmatch(value) is not None,
    )
    s3_uri: str | None = _setting(
        None, "Where models come from: s3://bucket/prefix/ (by latest.json, else the newest name) or s3://bucket/key."
    )
    s3_poll_seconds: float = _positive(30.0, "How often to check S3 for a newer model, ±20%.")
    s3_timeout_seconds: float = _positive(600.0, "How long one download from S3 may take.")
    s3_request_payer: Literal["owner", "requester"] = _one_of(
        "owner", "Who pays for requests to S3: the bucket's owner, or the requester.", "owner", "requester"
    )
    training_data: Path | None = _setting(
        None, "Interactions (a file or a directory) to train on if there is no usable model at the start."
    )
    training_columns: str | None = _setting(
        None,
        "The columns of the training data: user,item,rating,time in their order (- for others) for files without a "
        "header; user=NAME,item=NAME,weight=,time=NAME for files with one.",
    )
    training_delimiter: str | None = _setting(None, "The delimiter of the training data, if it is not detected.")
    training_encoding: str | None = _setting(None, "The encoding of the training data, such as latin-1, if not UTF-8.")
    items: Path | None = _setting(
        None, "A file of items with titles, availability and attributes: CSV, TSV, JSON Lines or Parquet."
    )
    items_s3_uri: str | None = _setting(
        None, "Where the file of items comes from: s3://bucket/key. It is downloaded to the path in ALS_ITEMS."
    )
    items_s3_poll_seconds: float = _positive(30.0, "How often to check S3 for a newer file of items, ±20%.")
    item_columns: str | None = _setting(
        None,
        "What columns of the catalog are, as in sku=id,price=number,genres=list,secret=-: id, title, available, bool, "
        "number, date, text, list, or - for none. Others are detected.",
    )
    unavailable: Path | None = _setting(
        None, "A file of items that must not be shown, one id a line. A change counts within a second."
    )
    hidden_users: Path | None = _setting(
        None, "A file of users who count as unknown, one id a line. A change counts within a second."
    )
    items_required: bool = _setting(False, "Whether an item that the catalog (ALS_ITEMS) does not list is unavailable.")
    tokens_file: Path | None = _setting(
        None, "A file of tokens, one 'name scope[,scope] sha256' a line; without it, everything is open."
    )
    log_format: Literal["console", "timed", "json"] = _one_of(
        "console", "The log format: console, timed (with the time) or json.", "console", "timed", "json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _one_of(
        "info", "The lowest level of log lines to show.", "debug", "info", "warning", "error"
    )

    access_log: float = _setting(
        0.0,
        "The share of requests to log, at level info and without user ids: 0 for none, 1 for all.",
        allowed="0 to 1",
        check=lambda value: 0 <= value <= 1,
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            check: Check | None = setting.metadata["check"]
            value = getattr(self, setting.name)
            if check is not None and not check(value):
                allowed = setting.metadata["allowed"]
                raise SettingsError(f"{variable(setting.name)} is {value!r}; it must be {allowed}.")


def variable(name: str) -> str:
    """Return the environment variable of a setting: ``model_path`` -> ALS_MODEL_PATH."""
    return "ALS_" + name.upper()
