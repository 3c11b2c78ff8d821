"""Tokens: who may ask a server for what.

The file of tokens has a line for each: its name, its scopes, and the sha256 of the token itself, which nobody stores.
The line ``anonymous read,metrics`` gives scopes to requests without a token.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from service.errors import BadTokensError

Scope: TypeAlias = Literal["read", "batch", "users", "metrics", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
#: The names of requests without a token, of those with an unknown one, and of tokens beyond what metrics can name.
ANONYMOUS, UNKNOWN, OTHER = "anonymous", "unknown", "other"

MOST_TOKENS = 256
MOST_BYTES = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINE = f"'name scope[,scope] sha256' or '{ANONYMOUS} scope[,scope]'"


class Token(msgspec.Struct, frozen=True):
    """A line of the file. ``digest`` is the token's sha256 in hexadecimal, None for requests without a token."""

    name: str
    scopes: frozenset[Scope]
    digest: str | None


Tokens: TypeAlias = tuple[Token, ...]


def new_token() -> str:
    """Return a new token, of 256 random bits: it cannot be guessed, so a fast hash is enough to hide it."""
    return "als_" + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Return the sha256 of a token, in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def make_token(name: str, scopes: Iterable[str], digest: str | None) -> Token:
    """Return a token. Raises BadTokensError, which never repeats a text that could be a token itself."""
    if not _NAME.fullmatch(name) or name in (UNKNOWN, OTHER):
        raise BadTokensError(
            f"the name must be 1 to 64 letters, digits and the signs . _ -, begin with a letter or a digit, and not be "
            f"{UNKNOWN} or {OTHER}."
        )
    known = frozenset(scope for scope in SCOPES if scope in scopes)
    if not known or known != set(scopes):
        raise BadTokensError(f"a scope is missing or unknown; the scopes are {', '.join(SCOPES)}.")
    if name == ANONYMOUS and (digest is not None or "admin" in known):
        raise BadTokensError(f"{ANONYMOUS} is for requests without a token: without a sha256 and without admin.")
    if name != ANONYMOUS and not (digest and _DIGEST.fullmatch(digest)):
        raise BadTokensError("the last word must be the token's sha256, 64 hexadecimal digits.")
    return Token(name, known, digest)


def line_of(token: Token) -> str:
    """Return the line of the file for a token."""
    scopes = ",".join(scope for scope in SCOPES if scope in token.scopes)
    return " ".join([token.name, scopes, *([token.digest] if token.digest else [])])


def parse_tokens(path: Path, content: bytes) -> Tokens:
    """Read a file of tokens, which ``path`` names in errors. Raises BadTokensError."""
    if len(content) > MOST_BYTES:
        raise BadTokensError(f"{path} is larger than {MOST_BYTES} bytes; it needs a line for each token.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadTokensError(f"{path} is not UTF-8; save it as UTF-8 text.") from None
    tokens = tuple(_parsed(path, text))
    if not tokens:
        raise BadTokensError(f"{path} has no tokens; add a line {_LINE}.")
    if len(tokens) > MOST_TOKENS:
        raise BadTokensError(f"{path} has {len(tokens)} tokens, more than {MOST_TOKENS}; remove those not in use.")
    return tokens


def _parsed(path: Path, text: str) -> Iterator[Token]:
    earlier = set[str]()
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            token = _token(words)
            _refuse_repeated(token, earlier)
        except BadTokensError as error:
            raise BadTokensError(f"{path}, line {number}: {error}") from None
        yield token


def _refuse_repeated(token: Token, earlier: set[str]) -> None:
    """Raise BadTokensError if an earlier token has the same name or digest; otherwise add them."""
    own = {token.name, f"sha256 {token.digest or token.name}"}
    if own & earlier:
        raise BadTokensError(f"{token.name} has the same name or sha256 as an earlier line; remove one of them.")
    earlier |= own


def _token(words: list[str]) -> Token:
    if len(words) not in (2, 3):
        raise BadTokensError(f"there are {len(words)} words; a line is {_LINE}.")
    name, scopes, *rest = words
    return make_token(name, scopes.split(","), rest[0].lower() if rest else None)
