"""Waiting for disks without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import TypeVar

from service.errors import AlsServeError

ResultT = TypeVar("ResultT")
_Lent = TypeVar("_Lent")


async def in_thread(work: Callable[[Callable[[], bool]], ResultT]) -> ResultT:
    """Do long work in a thread; it gets a function that says whether it was cancelled, and should end then."""
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(work, cancelled.is_set)
    finally:
        cancelled.set()


@asynccontextmanager
async def in_threads(context: AbstractContextManager[_Lent]) -> AsyncIterator[_Lent]:
    """Enter and leave a context in threads, because disks are slow, and so is removing gigabytes.

    An entered context is always left, even if a cancellation comes in between.
    """
    entering = asyncio.ensure_future(asyncio.to_thread(context.__enter__))
    try:
        lent = await asyncio.shield(entering)
    except asyncio.CancelledError:
        with suppress(AlsServeError):
            await entering
            await asyncio.to_thread(context.__exit__, None, None, None)
        raise
    try:
        yield lent
    except BaseException as error:  # the context has to be left whatever happens
        await asyncio.to_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(context.__exit__, None, None, None)
