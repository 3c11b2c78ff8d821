"""The AWS session: everything that is settled before a request is signed, which is credentials and the region."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from aiobotocore.utils import AioIMDSRegionProvider
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError

from service import __version__
from service.s3.transport import Transport

#: botocore reads AWS_DEFAULT_REGION only; all other AWS SDKs, Lambda, ECS and EKS use AWS_REGION.
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_VARIABLES = {name: (None, name, None, None) for name in _REGION_VARIABLES} | {"region": ("region", None, None, None)}
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+", re.ASCII)
_DEFAULT_REGION = "us-east-1"

_CONFIG = AioConfig(
    connect_timeout=5,
    read_timeout=15,
    # Other stores than AWS reject unknown checksums; ours is sent and requested where it matters.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    user_agent_extra=f"als-serve/{__version__}",
    http_session_cls=Transport,
)


class UnsignedError(Exception):
    """No credentials to sign a request with; says why, or has a cause: what botocore raised."""


class Region(msgspec.Struct, frozen=True):
    """The region of requests, and where it was found."""

    name: str
    source: str


class Session(AioSession):
    """A session whose clients use our transport, and whose credentials raise nothing but UnsignedError."""

    def __init__(self) -> None:
        """Read the credentials anew, but the description of S3 only once."""
        super().__init__(_VARIABLES)
        self.register_component("data_loader", _loader())
        self.set_default_client_config(_CONFIG)

    async def get_credentials(self) -> Any:  # type: ignore[override] # as aiobotocore itself does
        """Return the credentials of the environment, None if there are none. Raises UnsignedError."""
        with _unsigned():
            found = await super().get_credentials()
        return found and _Credentials(found)


class _Credentials:
    """Credentials that may have to be fetched, from STS for instance, whenever a request is signed."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._credentials, name)

    async def get_frozen_credentials(self) -> Any:
        """Return a key, its secret and a token. Raises UnsignedError."""
        with _unsigned():
            found = await self._credentials.get_frozen_credentials()
            for name in ("access_key", "secret_key", "token"):
                _check(name, getattr(found, name))
        return found


@contextmanager
def _unsigned() -> Iterator[None]:
    try:
        yield
    except UnsignedError:
        raise
    except Exception as error:  # each source of credentials has its own errors
        raise UnsignedError from error


def _check(name: str, value: str | None) -> None:
    """Raise UnsignedError if a header cannot carry this; the value is a secret."""
    if value and value != value.strip():
        raise UnsignedError(f"the {_NAMES[name]} begins or ends with a blank or a line break")
    if value and not (value.isascii() and value.isprintable()):
        raise UnsignedError(f"the {_NAMES[name]} contains a character that is not allowed there")


_NAMES = {"access_key": "access key", "secret_key": "secret key", "token": "session token"}


async def find_region(session: AioSession) -> Region:
    """Return the region: from the environment, a profile, the metadata of an EC2 instance, or the default one."""
    for name in _REGION_VARIABLES:
        if found := session.get_config_variable(name):
            return Region(found.strip(), name)
    if found := session.get_config_variable("region"):
        return Region(found, f"the profile {session.profile or 'default'}")
    if not _endpoint(session) and (found := await _region_of_instance(session)):
        return Region(found, "the instance metadata")
    return Region(_DEFAULT_REGION, "the default, because neither AWS_REGION nor a profile has one")


def _endpoint(session: AioSession) -> str | None:
    """Return the endpoint that is set; a store that is not AWS does not depend on the machine's region."""
    found: str | None = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3").provide()
    return found


async def _region_of_instance(session: AioSession) -> str | None:
    with suppress(BotoCoreError):  # not on EC2
        found = await AioIMDSRegionProvider(session=session).provide()
        return found if found and _REGION.fullmatch(found) else None
    return None


@cache
def _loader() -> Any:
    """Load botocore's description of S3: megabytes of JSON, read once, and not on an event loop."""
    loader = get_session().get_component("data_loader")
    for name in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        loader.load_service_model("s3", name)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    return loader
