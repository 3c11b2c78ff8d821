"""The log: a table of events, written as lines for people or as JSON for machines.

An event is logged by name with its facts; its sentence is in EVENTS. Events at INFO or above never contain user ids.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from service.untrusted import escaped

logger = logging.getLogger("als_serve")

#: The id of the request being answered, for every line logged meanwhile, by any library.
current_request: ContextVar[str] = ContextVar("current_request")

#: The arm of the request being answered, while there is a candidate: "served" or "candidate".
current_arm: ContextVar[str] = ContextVar("current_arm", default="")

_I, _W, _E, _D = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG

#: event -> level and sentence; the placeholders are the event's facts.
EVENTS: dict[str, tuple[int, str]] = {
    "initializing": (_I, "🚀 Initializing ML model..."),
    "file_found": (_I, "✅ ALS model {format} file found: {path} ({bytes} bytes)"),
    "skipping_training": (_I, "📚 Loading pre-trained model (skipping training)"),
    "loading": (_I, "📚 Loading ALS model from: {path}"),
    "file_verified": (_I, "✅ Model file verified: {path} ({bytes} bytes)"),
    "loaded": (_I, "✅ Loaded ALS model successfully"),
    "model_info": (_I, "📊 Model info: {users} users, {items} products"),
    "model_factors": (_I, "📊 Model factors: {factors} dimensions"),
    "row_numbers": (
        _W,
        "⚠️ The model file has no seen items, and its ids are row numbers: users are recommended what they already had, "
        "and nothing is popular",
    ),
    "analyzing_scores": (_I, "🔍 Analyzing ALS score ranges..."),
    "analyzed_scores": (_I, "✅ ALS score range analysis completed"),
    "score_range": (
        _I,
        "📈 {kind} scores: {min:.4g} to {max:.4g}, mean {mean:.4g}, p1 {p1:.4g}, p99 {p99:.4g}",
    ),
    "initialized": (_I, "✅ ML model initialization completed successfully (loaded existing model)"),
    "initialized_trained": (_I, "✅ ML model initialization completed successfully (trained new model)"),
    "reused": (_I, "♻️ Model {model_version} was already imported: opened its snapshot"),
    "resumed": (_I, "♻️ Serving model {model_version} as before the restart until the model file has been checked"),
    "swapped": (_I, "🔁 Now serving model {model_version} ({seconds:.2f} s from file to served)"),
    "unchanged": (_I, "💤 Model file touched, content unchanged: still serving {model_version}"),
    "returned": (_W, "⏪ Now serving model {model_version}, as an administrator asked"),
    "pin_lost": (_W, "⚠️ The pinned model {model_version} cannot be opened any more: taking new models again"),
    "administered": (_W, "🛠️ {token} asked for: {command}; {outcome}"),
    "file_missing": (_W, "❌ Model file not found: {path}"),
    "file_missing_hint": (
        _W,
        "💡 In EC2 environment, ensure the model is downloaded from S3 before starting the application",
    ),
    "rejected": (_W, "❌ {detail}"),
    "gate_warned": (_W, "⚠️ Model {model_version} passes with a warning: {detail}"),
    "gate_accepted": (_W, "🔓 Model {model_version} passes because it was accepted: {detail}"),
    "postponed": (_W, "⏳ {detail} Next attempt in {seconds:g} s"),
    "corrupt_hint": (_W, "💡 The model file may be corrupted or incompatible"),
    "still_serving": (_W, "🛡️ Still serving model {model_version}"),
    "changed_while_read": (_I, "🔄 The model file changed while it was being read: reading it again"),
    "stale": (_W, "⚠️ Serving model {model_version} from the state directory (stale): {reason}"),
    "waiting": (_I, "⏳ No model yet: waiting for a good file at {path}"),
    "child_said": (_W, "⚠️ Child process output: {text}"),
    "no_model": (_W, "⚠️ No usable model at {path}: training one on {data}"),
    "training": (_I, "🔄 Training new ALS model..."),
    "skipped_rows": (_W, "⚠️ Skipped {count} bad rows of the training data; the first: {first}"),
    "training_data": (_W, "⚠️ Training data: {text}"),
    "candidate": (_I, "🧪 Model {model_version} is the candidate for {percent:g}% of users (experiment {name})"),
    "candidate_gone": (_I, "🧪 There is no candidate any more: all users get the served model, not {model_version}"),
    "candidate_rejected": (_W, "⚠️ The candidate does not change: {detail}"),
    "shadow_failed": (_W, "⚠️ The candidate {model_version} fails in the background, which no client sees: {detail}"),
    "experiment": (
        _I,
        "🧪 The candidate is for {percent:g}% of users now (experiment {name}); shadow: {shadow:.1%} of requests",
    ),
    "trained": (_I, "✅ Trained an ALS model in {seconds:.1f} s and saved it to: {path}"),
    "trained_elsewhere": (
        _W,
        "⚠️ {detail} The trained model is in {saved}",
    ),
    "training_stopped": (_I, "🛑 Stopped training: a model file arrived"),
    "training_failed": (_W, "⚠️ Training failed: {detail}"),
    "no_functions": (
        _W,
        "⚠️ Continuing without a model: recommendations return 503 until there is a good file at {path}",
    ),
    "limited": (
        _W,
        "⚠️ Continuing with limited functions: only popular items are recommended until there is a good file at {path}",
    ),
    "stood_in": (_I, "🔁 Now serving model {model_version} in place of {path}"),
    "s3_following": (_I, "☁️ Following {uri} ({followed}): checking for changes every {seconds:g} s"),
    "s3_region": (_I, "☁️ Requests to S3 are signed for the region {region}, from {source}"),
    "s3_downloading": (_I, "⬇️ Downloading {key} from S3 ({bytes} bytes)"),
    "s3_downloaded": (_I, "✅ Downloaded {key} from S3 ({bytes} bytes in {seconds:.1f} s)"),
    "s3_failed": (_W, "⚠️ {detail} S3 will be retried; {kept} does not change"),
    "s3_recovered": (_I, "☁️ Following {uri} again"),
    "catalog": (_I, "📖 Loaded a catalog of {count} items from {path}; attributes: {columns}"),
    "catalog_coverage": (_I, "📖 The catalog lists {listed} of the model's {items} items, and {unknown} others"),
    "catalog_rows": (
        _W,
        "⚠️ Rows of the catalog that do not count: {left_out} have no usable id, {repeated} have an id that comes again",
    ),
    "catalog_remark": (_W, "⚠️ The catalog: {text}"),
    "list": (_I, "🚫 Loaded the list of {setting} from {path}; ids: {count}, in the model: {known}"),
    "policy_rejected": (_W, "⚠️ {setting} is not taken; its last good content counts, if there is any: {detail}"),
    "policy_resumed": (
        _W,
        "⚠️ Using the last good content of {setting}, {count} lines, from the state directory: {reason}",
    ),
    "tokens": (_I, "🔑 Loaded the tokens from {path}; count: {count}"),
    "tokens_rejected": (_W, "⚠️ Keeping the current tokens: {detail}"),
    "housekeeping_failed": (_W, "⚠️ Could not clean up the state directory: {detail}"),
    "single_file_mount": (
        _W,
        "⚠️ {path} is a single-file mount: a new model renamed over it on the host is never seen here. "
        "Mount its directory instead",
    ),
    "watch_failed": (
        _W,
        "⚠️ File events stopped ({detail}): checking every {seconds:g} s, watching again soon",
    ),
    "task_failed": (_E, "❌ {task} failed and starts again in {seconds:g} s: {detail}"),
    "listening": (_I, "🌐 Listening on http://{address}"),
    "managing": (_I, "🌐 Health and metrics on http://{address}"),
    "accept_failed": (_W, "⚠️ Cannot accept new connections: {detail}. Retrying ten times a second"),
    "worker_ended": (_E, "❌ A worker {detail}. Its replacement starts in {seconds:g} s"),
    "worker_hung": (_E, "❌ Killing worker {pid}: it has not responded for {seconds:.0f} s"),
    "not_followed": (_W, "⚠️ A worker keeps the previous model: {detail}"),
    "not_answering": (_W, "⚠️ A worker does not answer yet, so the model file is looked at again: {detail}"),
    "candidate_lost": (_W, "⚠️ A worker answers without the candidate {model_version}: {detail}"),
    "scan_kernel": (_I, "⚡ Items are scanned by the compiled int8 kernel"),
    "no_scan_kernel": (
        _W,
        "🐢 Items are scanned by NumPy: the answers are the same, but slower. The compiled kernel was not built: "
        "install a C compiler, then als-serve again",
    ),
    "draining": (_I, "🛑 Stopping: no longer ready; the port closes in {seconds:g} s"),
    "stopped": (_I, "👋 Stopped"),
    "request": (_I, "📨 {method} {route}: {status} in {seconds:.4f} s (request {request_id})"),
    "request_failed": (_E, "❌ Unexpected error while answering {route} (request {request_id})"),
}


def log_event(event: str, *, exc_info: bool = False, **facts: Any) -> None:
    """Log one event of EVENTS with its facts."""
    level, sentence = EVENTS[event]
    if logger.isEnabledFor(level):
        logger.log(level, sentence.format(**facts), exc_info=exc_info, extra={"event": event, "facts": facts})


class ConsoleFormatter(logging.Formatter):
    """The sentence alone; further lines, such as those of a traceback, are indented, so none looks like an event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record for a terminal, without control characters."""
        return "\n    ".join(map(escaped, super().format(record).split("\n")))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, event, message, its facts, a request's id and arm."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if "request_id" not in line and (answered := current_request.get("")):
            line["request_id"] = answered
        if arm := current_arm.get():
            line["arm"] = arm
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return escaped(json.dumps(line, ensure_ascii=False, default=str))


def _formatter(log_format: str) -> logging.Formatter:
    match log_format:
        case "json":
            return JsonFormatter()
        case "timed":
            timed = ConsoleFormatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
            timed.converter = time.gmtime
            return timed
        case _:
            return ConsoleFormatter()


def set_up_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send our events, and other libraries' warnings, to ``stream`` (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(log_format))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # aiohttp itself answers 400 to bytes that are not HTTP, and would log a traceback for every such client.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logger.setLevel(level.upper())
