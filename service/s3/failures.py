"""The boundary: whatever botocore, aiohttp, an answer or a bug raises, as one of our errors with one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from botocore import exceptions as botocore
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from service.errors import (
    AlsServeError,
    DownloadCorruptError,
    DownloadCutError,
    S3ConfigurationError,
    S3CredentialsError,
    S3Error,
    S3TimeoutError,
    S3UnavailableError,
    S3UnreachableError,
)
from service.s3.answers import answered, code_of
from service.s3.location import Location
from service.s3.quoting import quoted
from service.s3.session import UnsignedError
from service.s3.transport import OversizedError, RedirectedError

_ROLE = "check the role, its trust policy and the token"
_GIVE = "give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
#: The codes of STS and SSO, and what to do; all failures before a request is signed are about credentials.
_REFUSALS = {
    "AccessDenied": "the role may not be assumed; allow it in the role's trust policy",
    "InvalidIdentityToken": "check the token file and the role's identity provider",
    "ExpiredTokenException": "renew the token",
    "ExpiredToken": "renew the token",
    "IDPRejectedClaim": "check the role's trust policy and identity provider",
    "RegionDisabledException": "activate STS in this region, or set AWS_REGION to another",
    "RequestTimeTooSkewed": "set this machine's clock",
    "UnauthorizedException": "sign in again with aws sso login",
} | dict.fromkeys(
    ("Throttling", "ThrottlingException", "IDPCommunicationError", "InternalFailure", "ServiceUnavailable"), "try again"
)
_CREDENTIALS = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.MetadataRetrievalError,
    botocore.ProfileNotFound,
    botocore.SSOError,
    botocore.TokenRetrievalError,
)
_NETWORK = (botocore.HTTPClientError, botocore.ConnectionError, aiohttp.ClientError, OSError)
_SETTINGS = "{} cannot be requested ({}); check AWS_ENDPOINT_URL and the other AWS settings."
_NOT_S3 = "The server that answered for {} is not S3 ({}); check AWS_ENDPOINT_URL."

#: The first type that fits decides: our error, and its sentence about the place and what was raised.
_RAISED: tuple[tuple[tuple[type[Exception], ...], type[S3Error], str], ...] = (
    (_CREDENTIALS, S3CredentialsError, f"There are no usable credentials for {{}} ({{}}); {_GIVE}."),
    (
        (RedirectedError,),
        S3ConfigurationError,
        "{} was redirected ({}), which is not followed; check AWS_REGION and AWS_ENDPOINT_URL.",
    ),
    ((OversizedError, ResponseParserError), S3UnavailableError, _NOT_S3),
    (
        (botocore.FlexibleChecksumError,),
        DownloadCorruptError,
        "{} does not match the checksum that S3 has for it ({}); try again.",
    ),
    (
        (aiohttp.ClientPayloadError, botocore.IncompleteReadError, botocore.ResponseStreamingError),
        DownloadCutError,
        "{} was cut short ({}); try again.",
    ),
    ((aiohttp.ClientResponseError,), S3UnavailableError, _NOT_S3),
    ((FileNotFoundError, aiohttp.InvalidURL), S3ConfigurationError, _SETTINGS),
    (
        _NETWORK,
        S3UnreachableError,
        "{} cannot be reached: {}; check the network, AWS_ENDPOINT_URL and the region.",
    ),
    ((botocore.BotoCoreError,), S3ConfigurationError, _SETTINGS),
    ((Exception,), S3UnavailableError, "The answer for {} cannot be understood ({}); check AWS_ENDPOINT_URL."),
)


@contextmanager
def speaking_of(place: Location) -> Iterator[None]:
    """Raise every exception of the block as an AlsServeError; if it is none yet, as an S3Error that names the place."""
    try:
        yield
    except AlsServeError:
        raise
    except Exception as error:  # whatever a library or an odd answer raises
        raise _failure(place, error) from error


@contextmanager
def configuring(place: Location) -> Iterator[None]:
    """Raise the failures of settings, before there is a client. Raises S3Error."""
    try:
        yield
    except (AlsServeError, UnsignedError, *_CREDENTIALS):
        raise
    except Exception as error:  # botocore raises errors of many kinds for its configuration
        raise S3ConfigurationError(
            f"{place} cannot be requested ({_brief(error)}); check AWS_ENDPOINT_URL, AWS_REGION and the AWS "
            "configuration file."
        ) from error


@asynccontextmanager
async def deadline(seconds: float, place: Location) -> AsyncIterator[asyncio.Timeout]:
    """Limit the time of the block, because a slow body never times out by itself. Raises S3TimeoutError."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError:
        raise S3TimeoutError(
            f"{place} took longer than {seconds:g} s; check the network, or allow more time."
        ) from None


def _failure(place: Location, error: Exception) -> S3Error:
    if isinstance(error, ClientError):
        return answered(place, error)
    if isinstance(error, UnsignedError):
        return _unsigned(place, error.__cause__ or error)
    error = _culprit(error)
    kind, sentence = next((kind, sentence) for types, kind, sentence in _RAISED if isinstance(error, types))
    return kind(sentence.format(place, _brief(error)))


def _unsigned(place: Location, error: BaseException) -> S3CredentialsError:
    """Return the error for credentials that could not be had, with the remedy for this cause."""
    match error:
        case ClientError():
            code = code_of(error)
            why, remedy = f"{quoted(error.operation_name, 64)}: {quoted(code, 64)}", _REFUSALS.get(code, _ROLE)
        case UnsignedError():
            why, remedy = str(error), "correct it"
        case OSError() if error.filename:
            why, remedy = f"{error.filename}: {error.strerror}", "check AWS_WEB_IDENTITY_TOKEN_FILE and the AWS files"
        case botocore.HTTPClientError():
            why, remedy = _brief(error), "check the network to the service that issues them"
        case botocore.BotoCoreError():
            why, remedy = _brief(error), _GIVE
        case _:
            why, remedy = _brief(error), "check AWS_ENDPOINT_URL and the service that issues them"
    return S3CredentialsError(f"There are no usable credentials for {place} ({why}); {remedy}.")


def _culprit(error: Exception) -> Exception:
    """Return what an HTTP client of botocore ran into, if it has no better name for it."""
    if type(error) is botocore.HTTPClientError and isinstance(inner := error.kwargs.get("error"), Exception):
        return inner
    return error


def _brief(error: BaseException) -> str:
    return quoted(str(error).rstrip(".")) or type(error).__name__
