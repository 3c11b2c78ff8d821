"""Handlers for administration: each carries out one command, and answers with the versions after it."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET

from service.api import answers
from service.api.context import Question
from service.api.parameters import Options, PercentBody, RollBackBody, VersionBody
from service.api.sending import WholeResponse
from service.errors import AlsServeError
from service.live.commands import Accept, Command, Look, Pin, RollBack, Show, Steer, Unpin
from service.observe.logs import log_event


async def versions(question: Question[None, Options]) -> web.StreamResponse:
    """List the versions.

    Those that are kept on the server, and which of them is served, pinned, accepted or quarantined.
    """
    return await _performed(question, Show())


async def look(question: Question[None, Options]) -> web.StreamResponse:
    """Reload now.

    The model path, and S3 if it is followed, are looked at, also for a file that was refused. The answer does not wait
    for that: `last_reload` in `/v1/model` says how it ended.
    """
    return await _performed(question, Look())


async def pin(question: Question[None, VersionBody]) -> web.StreamResponse:
    """Pin a version.

    A version that was served earlier is served again, and no new model is taken until it is unpinned, also after a
    restart. Nothing is downloaded.
    """
    return await _performed(question, Pin(question.options.model_version))


async def unpin(question: Question[None, Options]) -> web.StreamResponse:
    """Unpin.

    New models are taken again, beginning with the one at the model path.
    """
    return await _performed(question, Unpin())


async def roll_back(question: Question[None, RollBackBody]) -> web.StreamResponse:
    """Roll back.

    An earlier version is served again, and the one that was served is quarantined: it is not taken again until it is
    accepted; newer models are. Nothing is downloaded. Without a version, the newest model is left for the one before
    it; asking again changes nothing.
    """
    version = question.options.model_version
    return await _performed(question, RollBack(None if version is UNSET else version))


async def accept(question: Question[None, VersionBody]) -> web.StreamResponse:
    """Accept a version.

    Although a gate blocks it or it is quarantined. If it is the file at the model path, it is served soon.
    """
    return await _performed(question, Accept(question.options.model_version))


async def steer(question: Question[None, PercentBody]) -> web.StreamResponse:
    """Set the candidate's percentage.

    Of the users who get the candidate, also after a restart. If S3 names a candidate, its pointer says the percentage;
    `candidate_percent` in the answer is what is in force.
    """
    return await _performed(question, Steer(question.options.percent))


async def _performed(question: Question[None, Any], command: Command) -> web.StreamResponse:
    """Carry out a command, and log who asked for it."""
    access, administer = question.context.access, question.context.administer
    assert access  # without tokens there are no such routes
    assert administer
    token, described = access.holder_of(question.request).name, _described(command)
    try:
        found = await administer(command)
    except AlsServeError as error:
        log_event("administered", token=token, command=described, outcome=error.code)
        raise
    log_event("administered", token=token, command=described, outcome="done")
    return WholeResponse(answers.encode(found), answers.CONTENT_TYPE)


def _described(command: Command) -> str:
    """Return a command as it is written for als-serve admin."""
    given = [str(value) for value in msgspec.structs.astuple(command) if value is not None]
    return " ".join([str(command.__struct_config__.tag), *given])
