"""Whatever STS, other sources of credentials or the AWS settings do, a poll ends with one code and one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.s3.location import Location
from tests.s3.conftest import Be, Poll
from tests.support.odd_store import error, html, odd_store, refused, reply

PLACE = Location("bucket", "models/als_model.npz")
STS = "^POST / "
FOREIGN = "http://127.0.0.1:9/elsewhere"
TOKENS: dict[str, tuple[bytes | None, str]] = {
    "the role may not be assumed": (refused(403, "AccessDenied"), "allow it in the role's trust policy"),
    "a token of another": (refused(400, "InvalidIdentityToken"), "check the token file"),
    "expired": (refused(400, "ExpiredTokenException"), "renew the token"),
    "rejected": (refused(403, "IDPRejectedClaim"), "trust policy"),
    "region disabled": (refused(403, "RegionDisabledException"), "set AWS_REGION to another"),
    "throttling": (refused(400, "Throttling"), "try again"),
    "unavailable": (refused(503, "ServiceUnavailable"), "try again"),
    "anything else": (refused(400, "MalformedPolicyDocument"), "check the role"),
    "page": (html(200), "check"),
    "page 500": (html(500), "check"),
    "redirect": (reply(302, "", {"Location": FOREIGN}), "check"),
    "empty answer": (reply(200), "check"),
    "no credentials": (reply(200, "<AssumeRoleWithWebIdentityResponse/>"), "check"),
    "without end": (reply(200, b"x" * 9_000_000), "over 8388608 bytes"),
    "closed": (None, "network"),
}


def role(directory: Path, token: bytes | None = b"token") -> dict[str, str]:
    """Return the variables of a pod whose role is assumed with a token, which stands in a file."""
    file = directory / "token"
    if token is not None:
        file.write_bytes(token)
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
    return keys | {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/als", "AWS_WEB_IDENTITY_TOKEN_FILE": str(file)}


@pytest.mark.parametrize("row", TOKENS)
async def test_an_odd_answer_of_sts(be: Be, poll: Poll, tmp_path: Path, row: str) -> None:
    """What fails before a request is signed is about credentials, and S3 is not said to have denied anything."""
    answer, words = TOKENS[row]
    async with odd_store({STS: answer, "": error(500, "NotReached")}) as store:
        be(role(tmp_path) | {"AWS_ENDPOINT_URL": store.endpoint, "AWS_MAX_ATTEMPTS": "1"})
        reason, sentence = await poll(PLACE)
        assert all(head.startswith("POST / ") for head in store.heads)
    assert reason == "credentials", sentence
    assert words in sentence


CONFIG = "AWS configuration file"
SETTINGS: dict[str, tuple[dict[str, str], str, str]] = {
    "no credentials": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "credentials", "give the instance"),
    "half of them": ({"AWS_SECRET_ACCESS_KEY": ""}, "credentials", "AWS_SECRET_ACCESS_KEY"),
    "unknown profile": ({"AWS_PROFILE": "nobody"}, "credentials", "(nobody)"),
    "key with a line break": ({"AWS_ACCESS_KEY_ID": "somebody\n"}, "credentials", "access key begins or ends with"),
    "secret with a line break": ({"AWS_SECRET_ACCESS_KEY": "something\r\n"}, "credentials", "the secret key begins or"),
    "token with a line break": ({"AWS_SESSION_TOKEN": "a\nb"}, "credentials", "the session token contains"),
    "key in another script": ({"AWS_ACCESS_KEY_ID": "jemänd"}, "credentials", "the access key contains"),
    "key of blanks": ({"AWS_ACCESS_KEY_ID": " "}, "credentials", "the access key begins"),
    "region that is none": ({"AWS_REGION": "eu central 1"}, "configuration", "AWS_REGION"),
    "endpoint without a scheme": ({"AWS_ENDPOINT_URL": "127.0.0.1:8333"}, "configuration", "AWS_ENDPOINT_URL"),
    "endpoint that is none": ({"AWS_ENDPOINT_URL": "not a url"}, "configuration", "AWS_ENDPOINT_URL"),
    "endpoint with a bad port": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:x"}, "configuration", "AWS_ENDPOINT_URL"),
    "nobody there": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "unreachable", "AWS_ENDPOINT_URL"),
    "no such certificates": (
        {"AWS_ENDPOINT_URL": "https://127.0.0.1:1", "AWS_CA_BUNDLE": "/no/such/file"},
        "configuration",
        "AWS settings",
    ),
    "container credentials of elsewhere": (
        {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/",
        },
        "credentials",
        "example.com",
    ),
}
FILES: dict[str, tuple[bytes, str, str]] = {
    "section without an end": (b"[profile", "configuration", CONFIG),
    "binary": (b"\xff\xfe\x00\x01[default]", "configuration", CONFIG),
    "no section": (b"region = eu-west-1", "configuration", CONFIG),
    "process that is not there": (
        b"[default]\ncredential_process = /no/such/program",
        "credentials",
        "/no/such/program",
    ),
    "process that fails": (b"[default]\ncredential_process = false", "credentials", "custom-process"),
    "process that says nothing": (b"[default]\ncredential_process = true", "credentials", ""),
    "role without a source": (b"[default]\nrole_arn = arn:aws:iam::1:role/x", "credentials", "source_profile"),
    "role of nobody": (b"[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = no", "credentials", "no"),
    "addressing that is none": (b"[default]\ns3 =\n  addressing_style = odd", "configuration", "odd"),
}


@pytest.mark.parametrize("row", SETTINGS)
async def test_an_odd_setting_of_the_environment(be: Be, poll: Poll, row: str) -> None:
    """What keeps a request from being signed or sent is credentials or configuration, and no secret is quoted."""
    variables, code, words = SETTINGS[row]
    be({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"} | variables)
    reason, sentence = await poll(PLACE)
    assert reason == code, sentence
    assert words in sentence
    assert "something" not in sentence


@pytest.mark.parametrize("row", FILES)
async def test_an_odd_configuration_file(be: Be, poll: Poll, tmp_path: Path, row: str) -> None:
    """A file that cannot be read, or that names credentials which cannot be had."""
    content, code, words = FILES[row]
    (tmp_path / "config").write_bytes(content)
    be({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    reason, sentence = await poll(PLACE)
    assert reason == code, sentence
    assert words in sentence


@pytest.mark.parametrize("token", [None, b"\xff\xfe"], ids=["missing", "not text"])
async def test_an_odd_token_file(be: Be, poll: Poll, tmp_path: Path, token: bytes | None) -> None:
    """The sentence names the file, and the network is not blamed."""
    be({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"} | role(tmp_path, token))
    reason, sentence = await poll(PLACE)
    assert reason == "credentials", sentence
    assert "cannot be reached" not in sentence
    if token is None:
        assert f"{tmp_path / 'token'}: No such file" in sentence
