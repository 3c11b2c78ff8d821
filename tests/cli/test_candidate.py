"""The command candidate: what it says, what it leaves in S3, and what it refuses."""

from __future__ import annotations

import json

import pytest

from service.s3.location import CANDIDATE, LATEST
from tests.support.bucket import Models
from tests.support.helpers import model_bytes, version
from tests.support.shops import Shop, failed


def test_a_model_becomes_the_candidate(shop: Shop) -> None:
    """The pointer names it, and who gets it; the table of versions marks it; another call changes the percentage."""
    name = shop.publish(1)
    result = shop.run("candidate", f"{shop.uri}{name}", "--percent", 10, "--shadow", 0.25)
    assert result.stdout == (
        f"✅ {shop.uri}{name} is now the candidate for 10% of users, compared for 25.0% of requests: "
        f"version {version(model_bytes(1))}\n"
    )
    pointer = json.loads(shop.asked(lambda models: models.get(CANDIDATE)))
    assert (pointer["key"].endswith(name), pointer["percent"], pointer["shadow"]) == (True, 10, 0.25)
    latest = shop.publish(2)
    table = shop.run("versions", shop.uri).stdout
    assert "and a percentage the candidate" in table
    assert any(line.split()[:2] == ["10%", name] for line in table.splitlines())
    assert any(line.split()[:2] == ["▶", latest] for line in table.splitlines())
    assert shop.run("candidate", f"{shop.uri}{name}", "--percent", 20).exit_code == 0
    pointer = json.loads(shop.asked(lambda models: models.get(CANDIDATE)))
    assert (pointer["percent"], pointer["shadow"]) == (20, None)


def test_a_new_model_is_a_candidate_before_anyone_is_served_it(shop: Shop) -> None:
    """It is checked and uploaded without becoming the latest; then it is the candidate, and then promoted."""
    served = shop.publish(1)
    result = shop.run("publish", shop.file(2), shop.uri, "--upload-only")
    assert result.exit_code == 0
    (name,) = set(shop.names) - {served, LATEST}
    _, uploaded, hint = result.stdout.splitlines()
    assert uploaded.startswith(f"✅ Uploaded {shop.uri}{name} (")
    assert hint == f"💤 No server follows it; als-serve promote {shop.uri}{name} changes that"
    assert shop.asked(Models.latest).key.endswith(served)
    assert shop.run("candidate", f"{shop.uri}{name}", "--percent", 10).exit_code == 0
    assert shop.run("promote", f"{shop.uri}{name}").exit_code == 0
    assert shop.asked(Models.latest).key.endswith(name)


def test_a_first_model_is_not_only_uploaded(shop: Shop) -> None:
    """Servers would follow it by its name, so nothing is uploaded."""
    assert "servers would follow this one by its name" in failed(
        shop.run("publish", shop.file(1), shop.uri, "--upload-only")
    )
    assert shop.names == []


def test_the_candidate_is_turned_off(shop: Shop) -> None:
    """By the prefix, or by a model of it; once there is none, it says so."""
    name = shop.publish(1)
    shop.run("candidate", f"{shop.uri}{name}", "--percent", 10)
    off = shop.run("candidate", shop.uri, "--off")
    assert off.stdout == f"✅ {shop.uri} has no candidate any more; it was {shop.uri}{name}\n"
    assert CANDIDATE not in shop.names
    assert "percentage" not in shop.run("versions", shop.uri).stdout
    again = shop.run("candidate", f"{shop.uri}{name}", "--off")
    assert (again.exit_code, again.stdout) == (0, f"💤 {shop.uri} had no candidate\n")


def test_the_candidate_is_kept_when_others_are_removed(shop: Shop) -> None:
    """As the latest model is."""
    name = shop.publish(1)
    shop.run("candidate", f"{shop.uri}{name}", "--percent", 10)
    shop.publish(2)
    third = shop.publish(3, "--keep", 1)
    assert set(shop.names) == {name, third, CANDIDATE, "latest.json"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say who gets the candidate: --percent 10, or --shadow 0.1 to compare it only, or --off."),
        (["--off", "--percent", "10"], "--off leaves no candidate; drop --percent and --shadow."),
        (["--percent", "10"], "is a prefix, not a model"),
    ],
)
def test_half_a_command_is_refused(shop: Shop, arguments: list[str], sentence: str) -> None:
    """In one sentence, which says what to do."""
    assert sentence in failed(shop.run("candidate", shop.uri, *arguments))


def test_what_was_not_published_is_not_a_candidate(shop: Shop) -> None:
    """Its content cannot be verified."""
    shop.asked(lambda models: models.put("als_model_20200101_000000.npz"))
    refused = failed(shop.run("candidate", f"{shop.uri}als_model_20200101_000000.npz", "--percent", 1))
    assert "was not published by als-serve" in refused
