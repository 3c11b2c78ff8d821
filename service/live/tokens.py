"""The loader of tokens: from their file to the check of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from service.errors import AlsServeError, BadTokensError, ModelRejectedError, SourceMissingError
from service.live.loader import Loader
from service.live.reading import Reading
from service.live.report import Reload
from service.model.storage.source import Source, identify, opened
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.tokens import MOST_BYTES, Tokens, parse_tokens


def read_tokens(path: Path) -> Tokens:
    """Read a file of tokens at the start of a server. Raises BadTokensError, OutOfResourcesError."""
    try:
        return _read(identify(path))
    except ModelRejectedError as error:
        raise _named(path, error) from None


def _read(source: Source) -> Tokens:
    """Read the file of a source. Raises BadTokensError, and the errors of reading a source."""
    path = Path(source.path)
    with opened(path, source.signature) as file:
        return parse_tokens(path, file.read(MOST_BYTES + 1))


def _named(path: Path, error: AlsServeError) -> AlsServeError:
    """Return the error of a file that cannot be read, as one of a file of tokens."""
    if isinstance(error, SourceMissingError):
        return BadTokensError(f"There is no file at {path}; put it there, or unset ALS_TOKENS_FILE.")
    return BadTokensError(str(error)) if isinstance(error, ModelRejectedError) else error


class TokensLoader(Loader[Tokens]):
    """Reads the file again when it changes, and hands its tokens to ``use``; a bad file changes nothing."""

    def __init__(self, path: Path, use: Callable[[Tokens], None], metrics: Metrics) -> None:
        self._path = path
        self._use = use
        self._metrics = metrics
        self._taken = ""
        self._used = ""

    async def serves(self, source: Source) -> bool:
        """Return whether these tokens are already used."""
        return self._used == source.sha256

    async def obtain(self, source: Source, reading: Reading) -> Tokens:
        """Read the file. Raises BadTokensError, and the errors of reading a source."""
        self._taken = source.sha256
        return await asyncio.to_thread(_read, source)

    async def warm(self, loaded: Tokens, reading: Reading) -> None:
        """Do nothing: they are in memory."""

    def hand_over(self, loaded: Tokens, reading: Reading) -> None:
        """Use them from now on."""
        self._use(loaded)
        self._used = self._taken

    async def handed_over(self, loaded: Tokens, reading: Reading) -> None:
        """Log how many there are."""
        log_event("tokens", count=len(loaded), path=str(self._path))

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Count the reload, and log why a file was rejected."""
        self._metrics.token_reloads.labels(reload.outcome).inc()
        if reload.outcome != "postponed":  # nothing is known about the file then
            self._metrics.tokens_stale.set(reload.outcome == "rejected")
        if reload.outcome == "rejected" and error:
            named = _named(self._path, error)
            log_event("tokens_rejected", detail=str(named), reason=named.code)

    async def do_without(self, reason: str) -> None:
        """Do nothing: a server that has started has tokens."""
