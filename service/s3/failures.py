"""S3 failures as our own errors, each with one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError

from service.errors import (
    DownloadCorruptError,
    DownloadCutError,
    S3ChangedError,
    S3CredentialsError,
    S3DeniedError,
    S3Error,
    S3KeyDeniedError,
    S3NotFoundError,
    S3TimeoutError,
    S3UnavailableError,
    S3UnreachableError,
)
from service.s3.location import Location, is_model

#: S3's codes that say more than their status.
_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_NO_CREDENTIALS = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.MetadataRetrievalError,
    botocore.ProfileNotFound,
    botocore.SSOError,
    botocore.TokenRetrievalError,
)
_PAYLOAD = (aiohttp.ClientPayloadError, botocore.IncompleteReadError, botocore.ResponseStreamingError)
_NETWORK = (botocore.HTTPClientError, botocore.ConnectionError, aiohttp.ClientError, OSError)


@contextmanager
def speaking_of(place: Location) -> Iterator[None]:
    """Raise failures of the block as S3Errors that name the place."""
    try:
        yield
    except botocore.ClientError as error:
        raise _answered(place, error) from error
    except _NO_CREDENTIALS as error:
        raise S3CredentialsError(
            f"There are no usable credentials for {place} ({_brief(error)}); give the instance a role, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except botocore.FlexibleChecksumError as error:
        raise DownloadCorruptError(f"{place} does not match the checksum that S3 has for it; try again.") from error
    except _PAYLOAD as error:
        raise DownloadCutError(f"{place} was cut short ({_brief(error)}); try again.") from error
    except ResponseParserError as error:
        raise S3UnavailableError(f"The server that answered for {place} is not S3; check AWS_ENDPOINT_URL.") from error
    except (*_NETWORK, botocore.BotoCoreError) as error:
        raise S3UnreachableError(
            f"{place} cannot be reached: {_brief(error)}; check the network, AWS_ENDPOINT_URL and the region."
        ) from error


@asynccontextmanager
async def deadline(seconds: float, place: Location) -> AsyncIterator[None]:
    """Limit the time of the block, because a slow body never times out by itself. Raises S3TimeoutError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise S3TimeoutError(
            f"{place} took longer than {seconds:g} s; check the network, or allow more time."
        ) from None


def code_of(error: botocore.ClientError) -> str:
    """Return S3's error code, or the status if the response has no body (304, HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(place: Location, error: botocore.ClientError) -> S3Error:
    """Return the error for a failed response, by its code, else by its status."""
    code, status = code_of(error), int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    if code == "RequestTimeTooSkewed":
        return S3CredentialsError(f"S3 rejected the time of a request for {place} ({code}); set this machine's clock.")
    if code in _CREDENTIALS:
        return S3CredentialsError(f"S3 rejected the credentials for {place} ({code}); renew them.")
    # S3 has no code for a forbidden key: only its message names the permission.
    if code.startswith("KMS") or "kms:" in error.response.get("Error", {}).get("Message", ""):
        return S3KeyDeniedError(
            f"The key that encrypts {place} cannot be used ({code}); allow kms:Decrypt, "
            "and kms:GenerateDataKey for publishers."
        )
    if status == 403:
        return S3DeniedError(
            f"S3 denied access to {place} ({code}); grant it to this role. "
            "Without s3:ListBucket, S3 also denies access to missing objects."
        )
    if status == 404:
        return S3NotFoundError(f"{place} does not exist ({code}).{_remedy(place)}")
    if status in (409, 412):
        return S3ChangedError(f"{place} was changed by someone else in the meantime ({code}); try again.")
    if status < 500 and status != 429 and code != "SlowDown":
        return S3Error(f"S3 refused the request for {place} ({status} {code}); check the region and the version.")
    return S3UnavailableError(f"S3 is unavailable for {place} ({status} {code}); try again.")


def _remedy(place: Location) -> str:
    if place.is_prefix:
        return ""
    if is_model(place.key.rpartition("/")[2]):
        return f" als-serve versions {place.parent} lists the models there."
    return f" If it is a prefix, write {place}/ with a trailing slash."


def _brief(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
