"""The region of requests, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.s3.client import connected
from service.s3.location import Location
from service.s3.session import Region, Session, find_region
from tests.s3.conftest import Be
from tests.support.helpers import at_work, eventually
from tests.support.odd_store import OddStore, error, odd_store, reply

PLACE = Location("bucket", "models/als_model.npz")
DEFAULT = Region("us-east-1", "the default, because neither AWS_REGION nor a profile has one")


@pytest.fixture
def be(be: Be, tmp_path: Path) -> Be:
    """Return what sets variables; a configuration file has two profiles, and nothing else names a region."""
    (tmp_path / "config").write_text("[default]\nregion = eu-west-2\n[profile shop]\nregion = eu-west-3\n")
    return lambda variables: be({"AWS_REGION": ""} | variables)


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-central-1"}, Region("eu-central-1", "AWS_REGION")),
        ({"AWS_REGION": "eu-central-1\n"}, Region("eu-central-1", "AWS_REGION")),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, Region("eu-north-1", "AWS_DEFAULT_REGION")),
        (
            {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-north-1", "AWS_PROFILE": "shop"},
            Region("eu-central-1", "AWS_REGION"),
        ),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-north-1"}, Region("eu-north-1", "AWS_DEFAULT_REGION")),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, Region("eu-west-2", "the profile default")),
        ({"AWS_PROFILE": "shop"}, Region("eu-west-3", "the profile shop")),
        ({"AWS_CONFIG_FILE": "nowhere"}, DEFAULT),
    ],
)
async def test_the_region_is_found_where_every_aws_sdk_looks(be: Be, variables: dict[str, str], region: Region) -> None:
    """AWS_REGION first; a variable that is set to nothing is not set."""
    be(variables)
    assert await find_region(Session()) == region


ZONE, TOKEN = "GET /latest/meta-data/placement/availability-zone", "PUT /latest/api/token"


async def region_on(store: OddStore, be: Be, **variables: str) -> Region:
    """Return the region of a machine whose instance metadata this store has, where nothing else names one."""
    others = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": store.endpoint}
    be({"AWS_CONFIG_FILE": "nowhere"} | others | variables)
    return await find_region(Session())


async def test_an_instance_names_its_region(be: Be) -> None:
    """On EC2, where no variable and no profile has one; another store than AWS has nothing to do with it."""
    answers = {TOKEN: reply(200, "token"), ZONE: reply(200, "ap-south-1b")}
    async with odd_store(answers) as store:
        assert await region_on(store, be) == Region("ap-south-1", "the instance metadata")
        seen = len(store.heads)
        assert await region_on(store, be, AWS_ENDPOINT_URL="http://127.0.0.1:1") == DEFAULT
        assert await region_on(store, be, AWS_REGION="eu-west-1") == Region("eu-west-1", "AWS_REGION")
        assert len(store.heads) == seen


@pytest.mark.parametrize("answer", [reply(404), reply(200), reply(200, "<html>sign in</html>"), None])
async def test_what_is_no_instance_names_none(be: Be, answer: bytes | None) -> None:
    """Whatever answers in its place."""
    async with odd_store({"": answer}) as store:
        assert await region_on(store, be, AWS_METADATA_SERVICE_NUM_ATTEMPTS="1") == DEFAULT


async def test_requests_are_signed_for_the_region(be: Be) -> None:
    """With AWS_REGION alone, as in compose and Terraform."""
    async with odd_store({"": error(404, "NoSuchKey")}) as store:
        be({"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": store.endpoint, "AWS_CONFIG_FILE": "nowhere"})
        async with connected(PLACE, "owner") as client:
            assert client.meta.region_name == "eu-central-1"
            with pytest.raises(client.exceptions.NoSuchKey):
                await client.get_object(Bucket="bucket", Key="m")
        assert "/eu-central-1/s3/aws4_request" in store.heads[0]


async def test_the_log_says_which_region_is_used(be: Be, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, and where it was found."""
    caplog.set_level("INFO", logger="als_serve")
    async with odd_store({"": error(404, "NoSuchKey")}) as store:
        be({"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": store.endpoint})
        metrics = Metrics(CollectorRegistry())
        follower = S3Follower(PLACE, tmp_path / "m.npz", tmp_path, metrics, poll=0.001, timeout=10)
        async with at_work(follower.run()):
            await eventually(lambda: len(store.heads) > 2)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("☁️ Requests")]
    assert lines == ["☁️ Requests to S3 are signed for the region eu-central-1, from AWS_REGION"]
