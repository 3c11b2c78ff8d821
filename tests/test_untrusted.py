"""Text from files and clients: safe to show, bounded, and quoted only where it may be seen."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadIdsError
from service.untrusted import LONGEST, escaped, quote, sentence, with_quotations, without_quotations

ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT)
def test_escaped_text_is_safe_and_loses_nothing(text: str) -> None:
    """No control characters, no line breaks, no half characters; JSON's decoder gives the text back."""
    safe = escaped(text.replace("\\", ""))
    assert all(
        letter.isprintable() or (letter.isspace() and letter not in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85") for letter in safe
    )
    quoted = safe.replace('"', '\\"')
    assert json.loads(f'"{quoted}"') == text.replace("\\", "")


@pytest.mark.parametrize("text", ["plain", "naïve — “日本語” 🎯", "a\u00a0space"])
def test_what_is_printable_stays(text: str) -> None:
    """Letters, signs and spaces of any script."""
    assert escaped(text) == text


@given(ANY_TEXT)
def test_an_error_is_one_bounded_line(text: str) -> None:
    """Whatever is quoted in it; and it is the same error again on the other side of a process boundary."""
    error = BadIdsError(f"{text} is {quote(text)}")
    assert "\n" not in str(error)
    assert len(error.marked) <= LONGEST
    assert str(BadIdsError(error.marked)) == str(error)
    assert BadIdsError(error.marked).public == error.public


def test_clients_do_not_see_what_is_quoted() -> None:
    """The log has it, marks included in neither."""
    error = BadIdsError(f"user_ids has the id {quote('secret')} for row 1 and for row {2}.")
    assert str(error) == "user_ids has the id secret for row 1 and for row 2."
    assert error.public == "user_ids has the id … for row 1 and for row 2."


def test_no_file_can_end_its_quotation() -> None:
    """A quotation with the marks of quotations in it is still one quotation."""
    inner = quote("secret")
    assert without_quotations(f"It is {quote(inner + 'more')}.") == "It is …."
    assert "secret" in with_quotations(f"It is {quote(inner)}.")


def test_a_quotation_that_is_cut_stays_a_quotation() -> None:
    """The end of a message may be in the middle of one."""
    cut = sentence("x" * (LONGEST - 10) + quote("secret" * 10))
    assert len(cut) == LONGEST
    assert "s" not in without_quotations(cut)


def test_escaping_needs_nothing_more() -> None:
    """A confined child can import nothing when it escapes a character, so the encoding comes with the module."""
    lines = "import sys, service.untrusted as u\nsys.path.clear()\nsys.meta_path.clear()\nprint(u.escaped('a\\x07'))"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("a\\u0007\n", "")
