"""Whatever S3 or another server on its port answers, a poll ends with one code and one sentence."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import S3Error
from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.s3 import finding
from service.s3.client import connected
from service.s3.location import LATEST, Location
from service.s3.publishing import publish
from service.s3.uploading import Protection
from tests.s3.conftest import Be, Poll, is_one_sentence
from tests.support.bucket import described, nobody
from tests.support.helpers import at_work, eventually
from tests.support.odd_store import OBJECT, entry, error, html, listing, odd_store, reply
from tests.support.running import running_server

OBJECT_PLACE, PREFIX = Location("bucket", "models/als_model.npz"), Location("bucket", "models/")
GET, POINTER, LIST, PUT = "^GET /bucket/models/als_model", LATEST, r"\?list-type=2", "^PUT "
FOREIGN = "http://127.0.0.1:9/elsewhere"
SHA = base64.b64encode(hashlib.sha256(b"another").digest()).decode()


def model(body: bytes = b"a model", **headers: str) -> bytes:
    """Return the answer of an object, with other headers (underscores are dashes)."""
    return reply(200, body, OBJECT | {name.replace("_", "-"): value for name, value in headers.items()})


LONG = b"x" * 70_000

#: what the server answers -> the reason code, and what the sentence says.
OBJECTS: dict[str, tuple[bytes | None, str, str]] = {
    # redirects
    "redirect, nothing more": (reply(301), "configuration", "AWS_REGION"),
    "redirect of S3 without its header": (error(301, "PermanentRedirect"), "configuration", "AWS_REGION"),
    "redirect to another host": (error(301, "PermanentRedirect", "", {"Location": FOREIGN}), "configuration", "elsew"),
    "page with a redirect": (html(302, headers={"Location": FOREIGN}), "configuration", "AWS_ENDPOINT_URL"),
    "temporary redirect": (error(307, "TemporaryRedirect", f"<Endpoint>{FOREIGN}</Endpoint>"), "configuration", "AWS_"),
    "other redirect": (reply(308, "", {"Location": FOREIGN}), "configuration", "AWS_ENDPOINT_URL"),
    "see other": (reply(303, "", {"Location": FOREIGN}), "configuration", "AWS_ENDPOINT_URL"),
    "multiple choices": (reply(300), "configuration", "AWS_ENDPOINT_URL"),
    "a region that is a host": (
        error(301, "PermanentRedirect", "", {"x-amz-bucket-region": "evil.com/x"}),
        "configuration",
        "was redirected",
    ),
    "always another region": (
        error(301, "PermanentRedirect", "", {"x-amz-bucket-region": "eu-west-1"}),
        "configuration",
        "eu-west-1; set AWS_REGION",
    ),
    "region in the body": (
        error(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"),
        "configuration",
        "eu-central-1; set AWS_REGION",
    ),
    "a region in the body that is a host": (
        error(400, "AuthorizationHeaderMalformed", "<Region>evil.com/x</Region>"),
        "configuration",
        "region",
    ),
    "opt-in region": (error(400, "IllegalLocationConstraintException"), "configuration", "AWS_REGION"),
    # pages
    "page in place of a model": (html(200), "unavailable", "AWS_ENDPOINT_URL"),
    "HTTP at an HTTPS port": (
        html(400, "400 The plain HTTP request was sent to HTTPS port"),
        "unavailable",
        "AWS_ENDPOINT_URL",
    ),
    "proxy wants a password": (html(407), "unavailable", "the proxy"),
    "page 401": (html(401), "unavailable", "AWS_ENDPOINT_URL"),
    "page 403": (html(403), "unavailable", "AWS_ENDPOINT_URL"),
    "page 404": (html(404), "unavailable", "AWS_ENDPOINT_URL"),
    "page 502": (html(502, "Bad Gateway"), "unavailable", "try again"),
    "page 503": (html(503), "unavailable", "try again"),
    "JSON": (reply(200, "{}", {"Content-Type": "application/json"}), "unavailable", "AWS_ENDPOINT_URL"),
    "JSON error": (reply(404, '{"code":5}', {"Content-Type": "application/json"}), "unavailable", "AWS_ENDPOINT_URL"),
    "text error": (reply(400, "no", {"Content-Type": "text/plain"}), "unavailable", "AWS_ENDPOINT_URL"),
    "XML that is something else": (reply(400, "<odd/>"), "s3_failed", "check"),
    "XML cut short": (reply(403, "<Error><Code>Acc"), "access_denied", "grant it"),
    "error cut short": (reply(403, "<Error>", {"Content-Length": "99"}), "unreachable", "AWS_ENDPOINT_URL"),
    # nothing
    "empty 400": (reply(400), "s3_failed", "check the region"),
    "empty 403": (reply(403), "access_denied", "s3:ListBucket"),
    "empty 404": (reply(404), "not_found", "does not exist"),
    "empty 500": (reply(500), "unavailable", "try again"),
    "empty 200": (reply(200), "unavailable", "AWS_ENDPOINT_URL"),
    "no content": (reply(204), "unavailable", "AWS_ENDPOINT_URL"),
    "empty object": (model(b""), "checksum_mismatch", "is empty"),
    "connection closed": (None, "unreachable", "AWS_ENDPOINT_URL"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "unavailable", "is not S3"),
    "header of 20 KB": (model(ETag="x" * 20_000), "unavailable", "is not S3"),
    "header that is not text": (model().replace(b'"1"', b'"\xff"'), "unavailable", "AWS_ENDPOINT_URL"),
    "length that is not a number": (model(Content_Length="many"), "unavailable", "AWS_ENDPOINT_URL"),
    # dates
    "date that is not a date": (model(Last_Modified="garbage"), "unavailable", "garbage"),
    "no date": (reply(200, "x", {"ETag": '"1"'}), "unavailable", "LastModified"),
    "date of next to never": (model(Last_Modified="Fri, 31 Dec 99999 23:59:59 GMT"), "unavailable", "AWS_ENDPOINT_URL"),
    # checksums
    "sha256 of another": (model(x_amz_checksum_sha256=SHA), "checksum_mismatch", "try again"),
    "sha256 that is not base64": (model(x_amz_checksum_sha256="!"), "checksum_mismatch", "try again"),
    "crc32 of another": (model(x_amz_checksum_crc32="AAAAAA=="), "checksum_mismatch", "try again"),
    "metadata of another": (model(x_amz_meta_sha256="0" * 64), "checksum_mismatch", "publish it again"),
    "fewer bytes": (model(Content_Length="9"), "cut_short", "try again"),
    # codes
    "Glacier": (error(403, "InvalidObjectState", "<StorageClass>GLACIER</StorageClass>"), "archived", "restore it"),
    "requester pays": (
        error(403, "AccessDenied", "<Message>Bucket is requester pays</Message>"),
        "access_denied",
        "ALS_S3_REQUEST_PAYER=requester",
    ),
    "access denied": (error(403, "AccessDenied"), "access_denied", "ALS_S3_REQUEST_PAYER=requester"),
    "key disabled": (error(400, "KMS.DisabledException"), "kms_denied", "kms:Decrypt"),
    "key missing": (error(400, "KMS.NotFoundException"), "kms_denied", "kms:Decrypt"),
    "key not permitted": (
        error(403, "AccessDenied", "<Message>not authorized to perform: kms:Decrypt</Message>"),
        "kms_denied",
        "kms:Decrypt",
    ),
    "account disabled": (error(403, "AllAccessDisabled"), "access_denied", "disabled"),
    "account with a problem": (error(403, "AccountProblem"), "access_denied", "disabled"),
    "account not signed up": (error(403, "NotSignedUp"), "access_denied", "signed up"),
    "slow down": (error(503, "SlowDown"), "unavailable", "try again"),
    "slow down with another status": (error(400, "SlowDown"), "unavailable", "try again"),
    "throttling": (error(400, "ThrottlingException"), "unavailable", "try again"),
    "too many requests": (error(429, "TooManyRequests"), "unavailable", "try again"),
    "request timeout": (error(400, "RequestTimeout"), "timeout", "network"),
    "clock": (error(403, "RequestTimeTooSkewed"), "credentials", "clock"),
    "expired": (error(400, "ExpiredToken"), "credentials", "renew"),
    "unknown key": (error(403, "InvalidAccessKeyId"), "credentials", "renew"),
    "no bucket": (error(404, "NoSuchBucket"), "not_found", "There is no bucket bucket"),
    "no version": (error(404, "NoSuchVersion"), "not_found", "does not exist"),
    "delete marker": (error(405, "MethodNotAllowed"), "not_found", "was deleted"),
    "not implemented": (error(501, "NotImplemented"), "unsupported", "does not support"),
    "code before status": (error(500, "NoSuchBucket"), "not_found", "There is no bucket"),
    "bad argument": (error(400, "InvalidArgument"), "s3_failed", "400 InvalidArgument"),
    "teapot": (error(418, "Teapot"), "s3_failed", "418 Teapot"),
    "no room": (error(507, "InsufficientStorage"), "not_published", "quota"),
    # sizes and characters
    "error without end": (error(400, "A", f"<Message>{'x' * 70_000}</Message>"), "unavailable", "over 65536 bytes"),
    "code of 60 KB": (error(400, "A" * 60_000), "s3_failed", "AAA…"),
    "code with line breaks": (error(400, "A\nB\x85C"), "s3_failed", r"A\u000aB"),
}  # fmt: skip

LISTS: dict[str, tuple[bytes | None, str, str]] = {
    "nothing": (listing(), "not_found", "publish"),
    "other names": (
        listing(*(entry(f"models/{name}") for name in ("model.npz", "als_model.pkl", "als-model-2026.npz"))),
        "not_found",
        "only 3 objects with other names than latest.json and als_model_*.pkl, .pickle, .npz",
    ),
    "one other name": (listing(entry("models/m.npz")), "not_found", "only 1 object with"),
    "page": (html(200), "unavailable", "AWS_ENDPOINT_URL"),
    "empty answer": (reply(200), "unavailable", "AWS_ENDPOINT_URL"),
    "an error with 200": (error(200, "AccessDenied"), "access_denied", "s3:ListBucket"),
    "an error with 200 that passes": (error(200, "SlowDown"), "unavailable", "try again"),
    "date that is not a date": (listing(entry(modified="garbage")), "unavailable", "garbage"),
    "size that is not a number": (listing(entry(size="many")), "unavailable", "many"),
    "size of nothing": (listing(entry(size="0")), "checksum_mismatch", "is empty"),
    "no key": (listing("<Size>7</Size>"), "unavailable", "Key"),
    "no date": (listing("<Key>models/als_model_1.npz</Key>"), "unavailable", "LastModified"),
    "no ETag": (listing(entry().replace("ETag", "Tag")), "unavailable", "ETag"),
    "cut short for ever": (
        listing(more="<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>"),
        "configuration",
        "token",
    ),
    "without end": (listing(entry("models/" + "x" * 8 * 2**20)), "unavailable", "over 8388608 bytes"),
    "key with line breaks": (listing(entry("models/als_model_&#10;1.npz")), "not_found", r"als_model_\u000a1"),
}

POINTERS: dict[str, tuple[bytes | None, str, str]] = {
    "page": (html(200, headers=OBJECT), "bad_pointer", "publish"),
    "empty": (model(b""), "bad_pointer", "publish"),
    "another prefix": (
        model(b'{"key": "' + b"x\\n" * 3000 + b'", "size": 1, "sha256": "' + b"0" * 64 + b'"}'),
        "bad_pointer",
        "not in the same prefix",
    ),
    "size of nothing": (
        model(b'{"key": "models/m", "size": 0, "sha256": "' + b"0" * 64 + b'"}'),
        "bad_pointer",
        "publish",
    ),
    "without end": (model(LONG), "bad_pointer", "over 65536 bytes"),
    "Glacier": (error(403, "InvalidObjectState"), "archived", "restore it"),
    "nesting": (model(b"[" * 60_000), "bad_pointer", "publish"),
}

UPLOADS: dict[str, tuple[bytes | None, str, str]] = {
    "not implemented": (error(501, "NotImplemented"), "unsupported", "does not support"),
    "not implemented, no body": (reply(501), "unsupported", "does not support"),
    "too large": (error(400, "EntityTooLarge"), "not_published", "quota"),
    "damaged": (error(400, "BadDigest"), "not_published", "try again"),
    "key not permitted": (error(400, "KMS.DisabledException"), "kms_denied", "kms:GenerateDataKey"),
    "page": (html(413), "unavailable", "AWS_ENDPOINT_URL"),
    "redirect": (reply(307, "", {"Location": FOREIGN}), "configuration", "AWS_ENDPOINT_URL"),
}


@pytest.mark.parametrize("row", OBJECTS)
async def test_an_odd_answer_in_place_of_an_object(be: Be, poll: Poll, row: str) -> None:
    """It is one code and one sentence with a remedy; the model stays, and nobody else is asked."""
    answer, code, words = OBJECTS[row]
    async with odd_store({"": answer}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        reason, sentence = await poll(OBJECT_PLACE)
    assert reason == code, sentence
    assert words in sentence


@pytest.mark.parametrize("row", LISTS)
async def test_an_odd_list(be: Be, poll: Poll, row: str) -> None:
    """What is under a prefix, where there is no pointer."""
    answer, code, words = LISTS[row]
    async with odd_store({LIST: answer, "": error(404, "NoSuchKey")}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        reason, sentence = await poll(PREFIX)
    assert reason == code, sentence
    assert words in sentence


@pytest.mark.parametrize("row", POINTERS)
async def test_an_odd_pointer(be: Be, poll: Poll, row: str) -> None:
    """What is under the pointer's name."""
    answer, code, words = POINTERS[row]
    async with odd_store({POINTER: answer, "": error(404, "NoSuchKey")}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        reason, sentence = await poll(PREFIX)
    assert reason == code, sentence
    assert words in sentence


@pytest.mark.parametrize("row", UPLOADS)
async def test_an_odd_answer_to_an_upload(be: Be, tmp_path: Path, row: str) -> None:
    """Publishing ends with a sentence."""
    answer, code, words = UPLOADS[row]
    (tmp_path / "m.npz").write_bytes(b"a model")
    async with odd_store({PUT: answer, "": error(404, "NoSuchKey")}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        with pytest.raises(S3Error) as failure:
            async with connected(PREFIX, "owner") as client:
                await publish(client, PREFIX, tmp_path / "m.npz", described(b"a model"), Protection(), nobody)
    assert failure.value.code == code, str(failure.value)
    assert is_one_sentence(str(failure.value))
    assert words in str(failure.value)


async def test_a_redirect_is_not_followed_with_the_token(be: Be, poll: Poll) -> None:
    """Neither the object's nor the bucket's redirect leads to another host, and the token stays at the endpoint."""
    async with odd_store({"": model()}) as foreign, odd_store() as store:
        store.answers[""] = html(307, headers={"Location": foreign.endpoint + "/bucket/models/als_model.npz"})
        be({"AWS_ENDPOINT_URL": store.endpoint})
        await poll(OBJECT_PLACE)
        assert any("the-token" in head for head in store.heads)
        assert foreign.heads == []


async def test_the_region_that_s3_names_is_used(be: Be, tmp_path: Path) -> None:
    """S3's own redirect, which names a region, is followed: the request is signed for it."""
    async with odd_store() as store:
        store.answers[""] = error(301, "PermanentRedirect", "", {"x-amz-bucket-region": "eu-west-1"})
        be({"AWS_ENDPOINT_URL": store.endpoint})
        with pytest.raises(S3Error):
            async with connected(OBJECT_PLACE, "owner") as client:
                await client.get_object(Bucket="bucket", Key="m")
        signed = [head.split("Credential=")[1].split("/")[2] for head in store.heads]
    assert signed == ["us-east-1", "eu-west-1"]


async def test_a_body_is_read_no_further_than_its_stated_size(be: Be, poll: Poll) -> None:
    """However long it goes on; the connection is closed and the model stays."""
    head = reply(200, b"", OBJECT).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    answers = {LIST: listing(entry()), GET: head + b"100000\r\n" + bytes(2**20), "": error(404, "NoSuchKey")}
    async with odd_store(answers) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        reason, sentence = await poll(PREFIX)
    assert (reason, "more bytes than the 7" in sentence) == ("checksum_mismatch", True), sentence


@pytest.mark.parametrize("moment", ["Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -1200"])
async def test_a_date_that_no_model_can_have_is_left_aside(be: Be, tmp_path: Path, moment: str) -> None:
    """The model comes all the same."""
    path = tmp_path / "models" / "als_model.npz"
    path.parent.mkdir()
    async with odd_store({"": model(Last_Modified=moment)}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        follower = S3Follower(OBJECT_PLACE, path, tmp_path, Metrics(CollectorRegistry()), poll=60, timeout=10)
        async with at_work(follower.run()):
            await eventually(lambda: follower.following.last_poll is not None)
        assert follower.following.last_poll
        assert follower.following.last_poll.detail == ""
    assert path.read_bytes() == b"a model"


async def test_the_requester_pays_with_every_request(be: Be, tmp_path: Path) -> None:
    """Where that is set, and not otherwise."""
    (tmp_path / "m.npz").write_bytes(b"a model")
    for payer, expected in (("requester", True), ("owner", False)):
        async with odd_store({LIST: listing(entry()), PUT: reply(200), "": error(404, "NoSuchKey")}) as store:
            be({"AWS_ENDPOINT_URL": store.endpoint})
            async with connected(PREFIX, payer) as client:
                await publish(client, PREFIX, tmp_path / "m.npz", described(b"a model"), Protection(), nobody)
            assert len(store.heads) > 2
            assert all(("x-amz-request-payer: requester" in head) == expected for head in store.heads)


async def test_a_list_that_never_ends_is_given_up(be: Be, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that always has one more page cannot fill the memory."""
    monkeypatch.setattr(finding, "_MOST_LISTED", 5)
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>"
    pages = {f"token={page - 1}": listing(entry(f"models/{page}"), more=more.format(page)) for page in range(1, 9)}
    async with odd_store(pages | {"": listing(entry("models/0"), more=more.format(0))}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint})
        with pytest.raises(S3Error, match="There are over 5 objects in s3://bucket/models/; use another prefix"):
            async with connected(PREFIX, "owner") as client:
                await finding.list_models(client, PREFIX)
        assert len(store.heads) == 6


async def test_a_server_is_told_by_its_settings(be: Be, tmp_path: Path) -> None:
    """The region and who pays reach S3 from the variables of a server; its log names the region."""
    async with odd_store({"": error(404, "NoSuchKey")}) as store:
        be({"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "eu-central-1"})
        settings: dict[str, Any] = {"s3_uri": "s3://bucket/models/", "s3_request_payer": "requester"}
        with running_server(tmp_path / "m.npz", tmp_path / "state", **settings) as server:
            logged = await asyncio.to_thread(server.wait_for, "s3_region")
            await eventually(lambda: store.heads)
    assert (logged["region"], logged["source"]) == ("eu-central-1", "AWS_REGION")
    assert "x-amz-request-payer: requester" in store.heads[0]
    assert "/eu-central-1/s3/aws4_request" in store.heads[0]
