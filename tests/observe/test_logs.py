"""The log: lines for people, JSON for machines, the same events in both."""

from __future__ import annotations

import io
import json
import logging
import re
import string
from datetime import UTC, datetime, timedelta

import pytest

from service.observe.logs import EVENTS, log_event, set_up_logging


def logged(log_format: str, level: str = "info") -> io.StringIO:
    """Send what is logged from now on to a buffer."""
    stream = io.StringIO()
    set_up_logging(log_format, level, stream)
    return stream


def test_a_console_line_is_the_sentence_alone() -> None:
    """People read sentences, without a prefix."""
    stream = logged("console")
    log_event("model_info", users=18902, items=34911)
    assert stream.getvalue() == "📊 Model info: 18902 users, 34911 products\n"


def test_a_timed_line_begins_with_the_time() -> None:
    """In UTC, to the millisecond; the rest is the sentence."""
    stream = logged("timed")
    log_event("model_info", users=18902, items=34911)
    moment, sentence = stream.getvalue().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(hours=1)
    assert sentence == "📊 Model info: 18902 users, 34911 products\n"


def test_a_json_line_carries_the_event_and_its_facts() -> None:
    """Machines read fields."""
    stream = logged("json")
    log_event("model_info", users=18902, items=34911)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "model_info",
        "message": "📊 Model info: 18902 users, 34911 products",
        "users": 18902,
        "items": 34911,
    }


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_fact_reaches_a_terminal_as_it_is(log_format: str) -> None:
    """Neither control characters nor line breaks nor bytes that are not UTF-8 can forge a line or move a cursor."""
    stream = logged(log_format)
    log_event("file_missing", path="a\x1b[2J\x9b\u202e\udce9\r\n✅ Loaded ALS model successfully")
    written = stream.getvalue()
    assert written.endswith("\n")
    assert "\\u001b[2J\\u009b\\u202e\\udce9" in written
    assert all(line.startswith("    ") for line in written.splitlines()[1:])


def test_an_exception_is_one_json_line_too() -> None:
    """A traceback never breaks the line format."""
    stream = logged("json")

    def fail() -> None:
        raise ValueError("no\nnewline")

    try:
        fail()
    except ValueError:
        log_event("request_failed", exc_info=True, route="/v1/model", request_id="r1")
    line = json.loads(stream.getvalue())
    assert "ValueError" in line["traceback"]
    assert line["level"] == "error"


def test_other_libraries_warnings_are_shown() -> None:
    """Warnings of libraries use the same format."""
    stream = logged("json")
    logging.getLogger("asyncio").warning("slow")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["message"]) == ("asyncio", "slow")


def test_the_level_is_obeyed() -> None:
    """At warning, what is merely informative is left out."""
    stream = logged("console", "warning")
    log_event("initializing")
    log_event("file_missing", path="m.pkl")
    assert stream.getvalue() == "❌ Model file not found: m.pkl\n"


def test_no_event_at_info_or_above_names_a_user() -> None:
    """User ids have no place in a log."""
    facts = {name for _, sentence in EVENTS.values() for _, name, _, _ in string.Formatter().parse(sentence) if name}
    assert not {"user", "user_id"} & facts
