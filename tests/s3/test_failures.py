"""Every failure of S3 is one of our errors, with a message that names the place and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as botocore
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from service.errors import (
    DownloadCorruptError,
    DownloadCutError,
    S3ChangedError,
    S3ConfigurationError,
    S3CredentialsError,
    S3DeniedError,
    S3Error,
    S3KeyDeniedError,
    S3NotFoundError,
    S3TimeoutError,
    S3UnavailableError,
    S3UnreachableError,
    UnknownUserError,
)
from service.s3.client import connected
from service.s3.failures import deadline, speaking_of
from service.s3.finding import find, list_models
from service.s3.location import LATEST, Location
from service.s3.publishing import promote, publish
from service.s3.uploading import Protection
from tests.support.bucket import Models, described, nobody, pointer_to
from tests.support.fault_proxy import Answer, Cut, Fault, FaultProxy, Refuse, Reset, Stall, page, s3_error
from tests.support.helpers import model_bytes
from tests.support.seaweed import Identity, Seaweed

PLACE = Location("bucket", "models/als_model.npz")
NO_CREDENTIALS = "; give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."


async def failure_of(location: Location, kind: type[S3Error] = S3Error) -> str:
    """Look at a place with the credentials of the environment, and return the sentence."""
    with pytest.raises(kind) as failure:
        async with connected(location, "owner") as client:
            await find(client, location, None)
    return told(failure.value)


def told(error: S3Error) -> str:
    """Return the sentence, which is one."""
    sentence = str(error)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, str]], None]:
    """Return what sets variables for S3, of which there are no others, nor files."""

    def be(variables: dict[str, str]) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        defaults = {
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in (defaults | variables).items():
            monkeypatch.setenv(name, value)

    return be


@pytest.mark.parametrize(("identity", "code"), [("wrong", "SignatureDoesNotMatch"), ("unknown", "InvalidAccessKeyId")])
async def test_credentials_that_s3_does_not_accept(
    seaweed: Seaweed, plain_bucket: str, environment: Callable[[dict[str, str]], None], identity: Identity, code: str
) -> None:
    """A wrong secret or an unknown key is said to be one, whatever is asked first."""
    environment(seaweed.environment(identity))
    location = Location(plain_bucket, "models/")
    pointer = location.at("models/" + LATEST)
    sentence = f"S3 rejected the credentials for {pointer} ({code}); renew them."
    assert await failure_of(location, S3CredentialsError) == sentence
    with pytest.raises(S3CredentialsError) as failure:
        async with connected(location, "owner") as client:
            await promote(client, location.at("models/als_model_1"), Protection())
    assert told(failure.value) == sentence


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "Unable to locate credentials"),
        ({"AWS_ACCESS_KEY_ID": "somebody"}, "Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be found"),
    ],
)
async def test_no_credentials_at_all(
    environment: Callable[[dict[str, str]], None], variables: dict[str, str], reason: str
) -> None:
    """None, half of them, or a profile that is not there: the sentence says where they may come from."""
    environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"} | variables)
    assert await failure_of(PLACE, S3CredentialsError) == (
        f"There are no usable credentials for {PLACE} ({reason}){NO_CREDENTIALS}"
    )


async def test_what_is_not_allowed(
    seaweed: Seaweed, models: Models, environment: Callable[[dict[str, str]], None], tmp_path: Path
) -> None:
    """A client without write permission gets that error, and objects stay readable."""
    await models.put(LATEST, pointer_to(models, "m", b"a model"))
    environment(seaweed.environment("reader"))
    file = tmp_path / "als_model.npz"
    file.write_bytes(model_bytes())
    async with connected(models.prefix, "owner") as client:
        assert await find(client, models.prefix, None)
        with pytest.raises(S3DeniedError) as failure:
            await publish(client, models.prefix, file, described(model_bytes()), Protection(), nobody)
    sentence = told(failure.value)
    assert sentence.startswith(f"S3 denied access to {models.prefix}als_model_")
    assert sentence.endswith(
        " (AccessDenied); grant it to this role. Without s3:ListBucket, S3 also denies access to missing objects; "
        "if the requester pays, set ALS_S3_REQUEST_PAYER=requester."
    )


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:1", 'Could not connect to the endpoint URL: "http://127.0.0.1:1/'),
        ("http://no-such-host.invalid", 'Could not connect to the endpoint URL: "http://no-such-host.invalid/'),
    ],
)
async def test_nobody_there(environment: Callable[[dict[str, str]], None], endpoint: str, reason: str) -> None:
    """A closed port or a name that nobody has is a one-sentence error."""
    environment({"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert (await failure_of(PLACE, S3UnreachableError)).startswith(f"{PLACE} cannot be reached: {reason}")


ANSWERS = {
    (400, "ExpiredToken"): (
        S3CredentialsError,
        "S3 rejected the credentials for {} (ExpiredToken); renew them.",
    ),
    (403, "InvalidToken"): (
        S3CredentialsError,
        "S3 rejected the credentials for {} (InvalidToken); renew them.",
    ),
    (403, "RequestTimeTooSkewed"): (
        S3CredentialsError,
        "S3 rejected the time of a request for {} (RequestTimeTooSkewed); set this machine's clock.",
    ),
    (403, "AccessDenied"): (
        S3DeniedError,
        "S3 denied access to {} (AccessDenied); grant it to this role. "
        "Without s3:ListBucket, S3 also denies access to missing objects; "
        "if the requester pays, set ALS_S3_REQUEST_PAYER=requester.",
    ),
    (400, "KMS.DisabledException"): (
        S3KeyDeniedError,
        "The key that encrypts {} cannot be used (KMS.DisabledException); allow kms:Decrypt, "
        "and kms:GenerateDataKey for publishers.",
    ),
    (404, "NoSuchKey"): (
        S3NotFoundError,
        "{0} does not exist (NoSuchKey). If it is a prefix, write {0}/ with a trailing slash.",
    ),
    (404, "NoSuchVersion"): (
        S3NotFoundError,
        "{0} does not exist (NoSuchVersion). If it is a prefix, write {0}/ with a trailing slash.",
    ),
    (409, "ConditionalRequestConflict"): (
        S3ChangedError,
        "{} was changed by someone else in the meantime (ConditionalRequestConflict); try again.",
    ),
    (412, "PreconditionFailed"): (
        S3ChangedError,
        "{} was changed by someone else in the meantime (PreconditionFailed); try again.",
    ),
    (503, "SlowDown"): (S3UnavailableError, "S3 is unavailable for {} (503 SlowDown); try again."),
    (500, "InternalError"): (S3UnavailableError, "S3 is unavailable for {} (500 InternalError); try again."),
}


@pytest.mark.parametrize(("status", "code"), list(ANSWERS))
async def test_an_answer_that_is_no_good_one(models: Models, proxy: FaultProxy, status: int, code: str) -> None:
    """Each has its class, and its sentence names the place, what S3 calls it, and what to do; it is asked once."""
    kind, sentence = ANSWERS[status, code]
    proxy.fail(s3_error(status, code))
    place = models.at("m")
    with pytest.raises(S3Error) as failure:
        await find(models.client, place, None)
    assert type(failure.value) is kind
    assert told(failure.value) == sentence.format(place)
    assert isinstance(failure.value.__cause__, ClientError)
    assert len(proxy.requests) == 1


async def test_a_key_that_may_not_be_used_is_no_denied_object(models: Models, proxy: FaultProxy) -> None:
    """S3 calls both AccessDenied, and only its message tells that the key is meant."""
    message = "User: x is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext"
    body = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    proxy.fail(Answer(403, body.encode(), "application/xml"))
    with pytest.raises(S3KeyDeniedError, match=f"^The key that encrypts {models.at('m')} cannot be used"):
        await find(models.client, models.at("m"), None)


async def test_a_prefix_is_not_told_to_be_written_as_one() -> None:
    """The remedy for a missing object would make no sense."""
    place = Location("bucket", "models/")
    with pytest.raises(S3NotFoundError) as failure, speaking_of(place):
        raise client_error(404, "NoSuchKey")
    assert told(failure.value) == "s3://bucket/models/ does not exist (NoSuchKey)."


@pytest.mark.parametrize(
    ("status", "kind"),
    [(status, S3UnavailableError) for status in (400, 403, 404, 502)],
)
async def test_a_page_in_place_of_an_error(models: Models, proxy: FaultProxy, status: int, kind: type[S3Error]) -> None:
    """What says it in HTML is a proxy on the way or another server, whatever the status: S3 speaks XML."""
    proxy.fail(page(status))
    with pytest.raises(kind) as failure:
        await find(models.client, models.at("m"), None)
    assert str(models.at("m")) in told(failure.value)


async def test_a_page_in_place_of_an_answer(models: Models, proxy: FaultProxy) -> None:
    """A login page with status 200 is neither a model nor a pointer nor a list of models."""
    proxy.fail(page(200), matching="^GET /[^?]*$")
    with pytest.raises(S3UnavailableError, match=f"^The server that answered for {models.at(LATEST)} is not S3"):
        await find(models.client, models.prefix, None)
    with pytest.raises(S3UnavailableError) as failure:
        await find(models.client, models.at("m"), None)
    assert (
        told(failure.value)
        == f"The server that answered for {models.at('m')} is not S3 (no ETag); check AWS_ENDPOINT_URL."
    )
    proxy.fail(Answer(200, b"<!DOCTYPE html><html><br>", "text/html"))
    with pytest.raises(S3UnavailableError) as failure:
        await list_models(models.client, models.prefix)
    assert str(models.prefix) in told(failure.value)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(10), DownloadCutError),
        (Reset(), S3UnreachableError),
        (Reset(10), S3Error),
        (Refuse(), S3UnreachableError),
        (Stall(10), S3TimeoutError),
        (Stall(), S3TimeoutError),
    ],
    ids=str,
)
async def test_a_fault_on_the_way(models: Models, proxy: FaultProxy, fault: Fault, kind: type[S3Error]) -> None:
    """However a connection breaks while a pointer is read, it is one of our errors; after it, all is well."""
    await models.put(LATEST, pointer_to(models, "m", b"a model"))
    proxy.fail(fault)
    with pytest.raises(kind) as failure:
        async with deadline(0.5 if kind is S3TimeoutError else 30, models.prefix):
            await find(models.client, models.prefix, None)
    assert str(models.prefix) in told(failure.value)
    proxy.heal()
    assert await find(models.client, models.prefix, None)


def client_error(status: int, code: str) -> ClientError:
    """Return what botocore raises for an answer."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.CredentialRetrievalError(provider="role", error_msg="no"), S3CredentialsError),
        (botocore.MetadataRetrievalError(error_msg="no"), S3CredentialsError),
        (botocore.TokenRetrievalError(provider="sso", error_msg="no"), S3CredentialsError),
        (botocore.UnauthorizedSSOTokenError(), S3CredentialsError),
        (botocore.FlexibleChecksumError(error_msg="no"), DownloadCorruptError),
        (aiohttp.ClientPayloadError("no"), DownloadCutError),
        (botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2), DownloadCutError),
        (botocore.ResponseStreamingError(error="no"), DownloadCutError),
        (ResponseParserError("no"), S3UnavailableError),
        (botocore.ConnectTimeoutError(endpoint_url="http://s3"), S3UnreachableError),
        (botocore.ReadTimeoutError(endpoint_url="http://s3"), S3UnreachableError),
        (botocore.SSLError(endpoint_url="http://s3", error=OSError("self-signed")), S3UnreachableError),
        (botocore.NoRegionError(), S3ConfigurationError),
        (botocore.ParamValidationError(report="Invalid bucket name"), S3ConfigurationError),
        (ValueError("Invalid timestamp"), S3UnavailableError),
        (KeyError("ETag"), S3UnavailableError),
        (RecursionError(), S3UnavailableError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), S3UnavailableError),
        (ExceptionGroup("several", [ValueError()]), S3UnavailableError),
        (aiohttp.ServerDisconnectedError(), S3UnreachableError),
        (ConnectionResetError(), S3UnreachableError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_what_botocore_raises_is_one_of_our_errors(error: Exception, kind: type[S3Error]) -> None:
    """With the place in it, and what it was as its cause; also where botocore says nothing at all."""
    with pytest.raises(S3Error) as failure, speaking_of(PLACE):
        raise error
    assert type(failure.value) is kind
    assert failure.value.__cause__ is error
    assert str(PLACE) in told(failure.value)
    assert "()" not in str(failure.value)


@pytest.mark.parametrize("error", [UnknownUserError("no such"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_is_not_s3s_is_not_said_to_be(error: BaseException) -> None:
    """An error of ours or a cancellation passes as it is."""
    with pytest.raises(type(error)) as failure, speaking_of(PLACE):
        raise error
    assert failure.value is error


async def test_a_deadline_is_over_everything_in_it() -> None:
    """However long each step takes; the sentence says how long was allowed."""
    with pytest.raises(S3TimeoutError) as failure:
        async with deadline(0.01, PLACE):
            await asyncio.Event().wait()
    assert told(failure.value) == f"{PLACE} took longer than 0.01 s; check the network, or allow more time."


async def test_what_keeps_its_deadline_is_not_disturbed() -> None:
    """Nor is what fails before it."""
    async with deadline(60, PLACE):
        await asyncio.sleep(0)
    with pytest.raises(S3NotFoundError):
        async with deadline(60, PLACE):
            raise S3NotFoundError("not there")
