"""Tokens in their file: what is read from it, and what is refused without repeating a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadTokensError
from service.tokens import (
    ANONYMOUS,
    MOST_BYTES,
    MOST_TOKENS,
    SCOPES,
    Token,
    Tokens,
    digest_of,
    line_of,
    new_token,
    parse_tokens,
)

PATH = Path("/etc/als-serve/tokens")
A, B = digest_of("a"), digest_of("b")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda name: name not in (ANONYMOUS, "unknown", "other")
)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
scopes = st.frozensets(st.sampled_from(SCOPES), min_size=1)
tokens = st.lists(
    st.builds(Token, names, scopes, digests),
    min_size=1,
    unique_by=(lambda token: token.name, lambda token: token.digest),
)
fillers = st.lists(st.sampled_from(["", "   ", "# a comment", "\t# ä"]))
ends = st.sampled_from(["\n", "\r\n", "  \n"])


@given(tokens, fillers, ends)
def test_what_is_written_is_read_back(written: list[Token], filler: list[str], end: str) -> None:
    """Whatever the names, scopes and digests; blank lines, comments and CRLF do not matter."""
    lines = [text for token in written for text in (*filler, line_of(token))]
    assert parse_tokens(PATH, end.join(lines).encode()) == tuple(written)


@given(
    st.text() | st.lists(st.sampled_from(["a", "read", "read,admin", A, "anonymous", "\n", "#", "\r"])).map(" ".join)
)
def test_any_text_is_tokens_or_one_sentence(text: str) -> None:
    """Nothing else can come of a file, and what was read can be written."""
    read = tokens_or_sentence(text.encode("utf-8", "surrogatepass"))
    if isinstance(read, str):
        assert read.startswith(str(PATH))
        assert read.endswith(".")
    else:
        assert parse_tokens(PATH, "\n".join(map(line_of, read)).encode()) == read


def tokens_or_sentence(content: bytes) -> Tokens | str:
    """Return what is read from a file, or why it is refused."""
    try:
        return parse_tokens(PATH, content)
    except BadTokensError as error:
        return str(error)


def test_a_file_as_people_write_it() -> None:
    """With a byte order mark, comments, blank lines, CRLF, tabs and digests in capital letters."""
    text = f"\ufeff# who may ask\r\n\r\nshop\tread,batch  {A.upper()}\r\nanonymous metrics\r\n"
    assert parse_tokens(PATH, text.encode()) == (
        Token("shop", frozenset({"read", "batch"}), A),
        Token(ANONYMOUS, frozenset({"metrics"}), None),
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", " has no tokens; add a line 'name scope[,scope] sha256' or 'anonymous scope[,scope]'."),
        ("# nothing\n", " has no tokens; add a line 'name scope[,scope] sha256' or 'anonymous scope[,scope]'."),
        (
            "\nshop\n",
            ", line 2: there are 1 words; a line is 'name scope[,scope] sha256' or 'anonymous scope[,scope]'.",
        ),
        (
            f"shop read {A} x",
            ", line 1: there are 4 words; a line is 'name scope[,scope] sha256' or 'anonymous scope[,scope]'.",
        ),
        ("shop read", ", line 1: the last word must be the token's sha256, 64 hexadecimal digits."),
        (f"shop read {A[1:]}", ", line 1: the last word must be the token's sha256, 64 hexadecimal digits."),
        (f"shop read {A[1:]}g", ", line 1: the last word must be the token's sha256, 64 hexadecimal digits."),
        (
            f"shop read,write {A}",
            ", line 1: a scope is missing or unknown; the scopes are read, batch, users, metrics, admin.",
        ),
        (f"shop , {A}", ", line 1: a scope is missing or unknown; the scopes are read, batch, users, metrics, admin."),
        (
            f"unknown read {A}",
            ", line 1: the name must be 1 to 64 letters, digits and the signs . _ -, begin with a letter or a digit, "
            "and not be unknown or other.",
        ),
        (
            f"{'x' * 65} read {A}",
            ", line 1: the name must be 1 to 64 letters, digits and the signs . _ -, begin with a letter or a digit, "
            "and not be unknown or other.",
        ),
        (
            f"anonymous read {A}",
            ", line 1: anonymous is for requests without a token: without a sha256 and without admin.",
        ),
        (
            "anonymous admin",
            ", line 1: anonymous is for requests without a token: without a sha256 and without admin.",
        ),
        (
            f"shop read {A}\nshop batch {B}",
            ", line 2: shop has the same name or sha256 as an earlier line; remove one of them.",
        ),
        (
            f"shop read {A}\nother-shop batch {A}",
            ", line 2: other-shop has the same name or sha256 as an earlier line; remove one of them.",
        ),
        (
            "anonymous read\nanonymous metrics",
            ", line 2: anonymous has the same name or sha256 as an earlier line; remove one of them.",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(content: str, sentence: str) -> None:
    """It names the line, what is wrong with it, and what is right."""
    with pytest.raises(BadTokensError) as refusal:
        parse_tokens(PATH, content.encode())
    assert str(refusal.value) == f"{PATH}{sentence}"


def test_what_is_not_utf_8_is_refused() -> None:
    """A file in another encoding is not guessed at."""
    with pytest.raises(BadTokensError, match=r"/tokens is not UTF-8; save it as UTF-8 text\."):
        parse_tokens(PATH, f"# Größe\nshop read {A}".encode("latin-1"))


def test_a_file_has_its_limits() -> None:
    """Neither its size nor the number of names in metrics is unbounded."""
    lines = [f"shop-{number} read {digest_of(str(number))}" for number in range(MOST_TOKENS + 1)]
    assert len(parse_tokens(PATH, "\n".join(lines[1:]).encode())) == MOST_TOKENS
    with pytest.raises(BadTokensError, match="has 257 tokens, more than 256; remove those not in use"):
        parse_tokens(PATH, "\n".join(lines).encode())
    with pytest.raises(BadTokensError, match="is larger than 1048576 bytes"):
        parse_tokens(PATH, b"#" * (MOST_BYTES + 1))


@pytest.mark.parametrize(
    "line", ["{}", "shop read {}", "{} read", "shop {} read", "read {} shop", "# x\nshop read {} x"]
)
def test_a_token_in_the_wrong_place_is_not_repeated(line: str) -> None:
    """Errors are logged, so a token that was pasted instead of its sha256 must not be in them."""
    token = new_token()
    with pytest.raises(BadTokensError) as refusal:
        parse_tokens(PATH, line.format(token).encode())
    assert token not in str(refusal.value)


def test_new_tokens_differ_and_can_be_sent() -> None:
    """As a bearer token of RFC 6750, which a header takes as it is."""
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token.replace("_", "").replace("-", "").isalnum() and len(token) == 47 for token in made)
