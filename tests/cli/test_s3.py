"""The commands publish, versions, promote and pull: output for people, and exit codes for scripts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from service.cli.progress import bar
from service.s3.location import LATEST
from tests.support.bucket import Models, pointer_to
from tests.support.fault_proxy import Stall, fault_proxy, s3_error
from tests.support.helpers import eventually, model_bytes, version
from tests.support.seaweed import Seaweed
from tests.support.shops import NAME, Shop, failed


def test_publish_says_what_it_does(shop: Shop) -> None:
    """It prints what would be served and the name in S3, and no bars unless standard error is a terminal."""
    file = shop.file(1)
    result = shop.run("publish", file, shop.uri)
    assert result.exit_code == 0
    checked, published = result.stdout.splitlines()
    assert checked == f"🧪 {file} would be served: version {version(model_bytes(1))}, 20 × 30 (users × items)"
    assert re.fullmatch(rf"✅ Published {shop.uri}{NAME} \({file.stat().st_size} bytes\)", published)
    assert result.stderr == ""
    pointer = shop.asked(Models.latest)
    assert (pointer.sha256[:16], pointer.size) == (version(model_bytes(1)), file.stat().st_size)
    assert pointer.counts
    assert (pointer.counts.users, pointer.counts.items) == (20, 30)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"not a model at all", "The file is text"), (None, "Model file not found")]
)
def test_a_bad_model_is_refused(shop: Shop, content: bytes | None, sentence: str) -> None:
    """For the server's own reasons, and nothing is uploaded."""
    file = shop.directory / "bad.npz"
    if content:
        file.write_bytes(content)
    assert sentence in failed(shop.run("publish", file, shop.uri))
    assert shop.names == []


def test_a_model_with_an_evaluation_is_published_with_it(shop: Shop) -> None:
    """Its metrics are in the pointer and its NDCG in the table of versions."""
    pairs = [f"u{user},i{(user + step) % 12}" for user in range(30) for step in (0, 1, 2, 3, 4)]
    (shop.directory / "pairs.csv").write_text("\n".join(["user,item", *pairs]) + "\n")
    trained = shop.run(
        *("train", "pairs.csv", "--model-path", "trained.npz", "--evaluate", "--factors", 4, "--iterations", 2)
    )
    assert trained.exit_code == 0, trained.stderr
    assert shop.run("publish", "trained.npz", shop.uri).exit_code == 0
    metrics = shop.asked(Models.latest).metrics
    assert metrics
    assert set(metrics) >= {"ndcg@20", "recall@20"}
    table = shop.run("versions", shop.uri).stdout
    assert f"ndcg@20 {metrics['ndcg@20']}" in table
    assert "recall" not in table


def test_publish_keeps_as_many_as_it_is_told(shop: Shop) -> None:
    """The oldest are removed, which is said of each."""
    old = [f"als_model_2020010{day}_000000.npz" for day in (1, 2)]
    for name in old:
        shop.asked(partial(Models.put, name=name))
    result = shop.run("publish", shop.file(3), shop.uri, "--keep", 2)
    assert result.stdout.splitlines()[2:] == [f"🧹 Removed {shop.uri}{old[0]}"]
    assert len(shop.names) == 3
    assert old[1] in shop.names
    assert shop.run("publish", shop.file(4), shop.uri, "--keep", 0).exit_code == 2


def test_a_publisher_is_told_that_another_was_later(shop: Shop) -> None:
    """And how to have servers follow this model all the same."""
    later = "als_model_29991231_235959.npz"
    shop.asked(lambda models: models.put(LATEST, pointer_to(models, later, b"a model")))
    result = shop.run("publish", shop.file(1), shop.uri)
    assert result.exit_code == 0
    (name,) = set(shop.names) - {LATEST}
    command = f"als-serve promote {shop.uri}{name}"
    assert result.stdout.splitlines()[2] == f"⚠️ A newer model stays the latest; {command} changes that"
    assert shop.run(*command.split()[1:]).exit_code == 0
    assert shop.asked(Models.latest).key.endswith(name)


def test_tags_and_encryption_come_from_the_command_line(shop: Shop) -> None:
    """As often as a tag is given; a key alone means KMS."""
    name = shop.publish(1, "--sse", "AES256", "--tag", "team=shop", "--tag", "note=a=b")

    async def tagging(models: Models) -> Any:
        return await models.client.get_object_tagging(Bucket=models.bucket, Key=models.at(name).key)

    tags = shop.asked(tagging)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "shop", "note": "a=b"}
    assert shop.asked(lambda models: models.head(LATEST))["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize("tag", ["team", "", "=shop"])
def test_a_tag_that_is_none_is_refused(shop: Shop, tag: str) -> None:
    """Before anything is done."""
    result = shop.run("publish", shop.file(1), shop.uri, "--tag", tag)
    assert failed(result) == f"The tag {tag!r} is not NAME=VALUE."
    assert result.stdout == ""
    assert shop.names == []


NO_PLACE = "{!r} is not an S3 location; write s3://bucket/prefix/ or s3://bucket/key."
NO_PREFIX = "{0} is one object; write {0}/ for a prefix."
NO_MODEL = "{0} is a prefix, not a model; als-serve versions {0} lists its models."


@pytest.mark.parametrize(
    ("command", "uri", "sentence"),
    [
        ("publish m.npz {}", "/tmp/models", NO_PLACE),
        ("publish m.npz {}", "s3://bucket/m", NO_PREFIX),
        ("versions {}", "/tmp/models", NO_PLACE),
        ("versions {}", "s3://bucket/m", NO_PREFIX),
        ("promote {}", "s3:bucket", NO_PLACE),
        ("promote {}", "s3://bucket/m/", NO_MODEL),
        ("pull {} --to m.npz", "s3:bucket", NO_PLACE),
    ],
)
def test_a_place_that_is_none_is_refused(shop: Shop, command: str, uri: str, sentence: str) -> None:
    """With what to write instead."""
    assert failed(shop.run(*command.format(uri).split())) == sentence.format(uri)


def test_versions_are_a_table(shop: Shop) -> None:
    """Newest first, the latest marked; models that als-serve did not publish are marked too."""
    one, two = shop.publish(1), shop.publish(2)
    shop.asked(lambda models: models.put("als_model_by_hand.npz", b"by hand"))
    assert shop.run("promote", shop.uri + one).exit_code == 0
    *lines, counted = shop.run("versions", shop.uri).stdout.splitlines()
    rows = [line.split() for line in lines if "als_model_" in line]
    size = str(len(model_bytes(1)))
    assert rows[0] == [two, str(len(model_bytes(2))), "20", "×", "30", version(model_bytes(2))]
    assert rows[1] == ["▶", one, size, "20", "×", "30", version(model_bytes(1))]
    assert rows[2] == ["als_model_by_hand.npz", "7", *["not", "published", "by", "als-serve"]]
    assert counted == f"3 models under {shop.uri}; ▶ marks the one that servers follow"


@pytest.mark.parametrize("color", ["", "1"])
def test_a_table_loses_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch, color: str) -> None:
    """However long the names are and narrow the terminal, they can be copied from it, in a pipe and on a screen."""
    name = "als_model_20260131_021500." + "long-" * 20 + ".npz"
    shop.asked(lambda models: models.put(name))
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", color)  # which rich takes for a terminal
    words = shop.run("versions", shop.uri).stdout
    assert name in words.split()
    assert "not published by als-serve" in words


def test_versions_are_json_for_programs(shop: Shop) -> None:
    """All that is known of each, on one line."""
    assert json.loads(shop.run("versions", shop.uri, "--json").stdout) == []
    name = shop.publish(1)
    (only,) = json.loads(shop.run("versions", shop.uri, "--json").stdout)
    key = shop.prefix.key + name
    assert (only["key"], only["is_latest"], only["size"]) == (key, True, len(model_bytes(1)))
    assert (only["pointer"]["key"], only["pointer"]["sha256"][:16]) == (key, version(model_bytes(1)))


def test_promote_goes_back(shop: Shop) -> None:
    """And says which version servers follow now; what is not there is said, and changes nothing."""
    one, _ = shop.publish(1), shop.publish(2)
    result = shop.run("promote", shop.uri + one)
    assert result.stdout == f"✅ {shop.uri}{one} is now the latest: version {version(model_bytes(1))}\n"
    missing = shop.uri + "als_model_20000101_000000.npz"
    assert failed(shop.run("promote", missing)) == (
        f"{missing} does not exist (404). als-serve versions {shop.uri} lists the models there."
    )
    assert shop.asked(Models.latest).key.endswith(one)


def test_pull_brings_the_latest(shop: Shop) -> None:
    """It goes where the command says, once: the second time it is there already."""
    name = shop.publish(1)
    to = shop.directory / "als_model.npz"
    result = shop.run("pull", shop.uri, "--to", to)
    assert (result.exit_code, result.stderr) == (0, "")
    size, digest = len(model_bytes(1)), version(model_bytes(1))
    assert result.stdout == f"✅ Downloaded {shop.uri}{name} to {to} ({size} bytes, version {digest})\n"
    assert to.read_bytes() == model_bytes(1)
    inode = to.stat().st_ino
    assert shop.run("pull", shop.uri, "--to", to).stdout == f"💤 {to} is already {shop.uri}{name}\n"
    assert to.stat().st_ino == inode


def test_pull_brings_one_that_is_named(shop: Shop) -> None:
    """Also where it is not the latest, and over another that stands there."""
    one, _ = shop.publish(1), shop.publish(2)
    to = shop.directory / "als_model.npz"
    assert shop.run("pull", shop.uri, "--to", to).exit_code == 0
    assert shop.run("pull", shop.uri + one, "--to", to).exit_code == 0
    assert to.read_bytes() == model_bytes(1)


def test_a_pull_that_brings_nothing_fails(shop: Shop) -> None:
    """With exit code 1 and a sentence; the file at the path stays."""
    to = shop.directory / "als_model.npz"
    to.write_bytes(b"the older one")
    sentence = f"There is no model under {shop.uri}; als-serve publish puts one there."
    assert failed(shop.run("pull", shop.uri, "--to", to)) == sentence
    shop.asked(lambda models: models.put(LATEST, b"<html>"))
    assert "is not a pointer to a model" in failed(shop.run("pull", shop.uri, "--to", to))
    assert to.read_bytes() == b"the older one"
    assert list(shop.directory.iterdir()) == [to]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is empty"), (b"<html>", "HTML page"), (model_bytes()[:-40], ""), (b"PK" + bytes(100), "")],
    ids=["empty", "a page", "cut short", "damaged"],
)
@pytest.mark.parametrize("name", ["als_model_20260131_021500.npz", "latest of the names"])
def test_a_pull_checks_what_came_before_it_replaces_anything(
    shop: Shop, content: bytes, sentence: str, name: str
) -> None:
    """A bad model, of one name or found under the prefix, exits with 1; the good one stays, with nothing beside it."""
    key = "als_model_20260131_021500.npz"
    shop.asked(lambda models: models.put(key, content))
    to = shop.file(1)
    result = shop.run("pull", shop.uri + (key if name == key else ""), "--to", to)
    assert sentence in failed(result)
    assert to.read_bytes() == model_bytes(1)
    assert list(shop.directory.iterdir()) == [to]


def test_a_pull_that_was_killed_does_no_harm(shop: Shop, seaweed: Seaweed) -> None:
    """The next one removes what it left, but has the model; one that is too slow says so."""
    name = shop.publish(1)
    to = shop.directory / "pulled" / "als_model.npz"
    to.parent.mkdir()

    async def killed() -> tuple[int, bytes]:
        async with fault_proxy(seaweed.endpoint) as proxy:
            proxy.fail(Stall(1000), matching=name)
            command = [sys.executable, "-m", "service", "pull", shop.uri, "--to", str(to)]
            environment = os.environ | {"AWS_ENDPOINT_URL": proxy.endpoint}
            pull = await asyncio.create_subprocess_exec(*command, env=environment)
            await eventually(lambda: list(to.parent.iterdir()), seconds=60)
            pull.kill()
            await pull.wait()
            options = ("--s3-timeout-seconds", "0.5")
            slow = await asyncio.create_subprocess_exec(*command, *options, env=environment, stderr=subprocess.PIPE)
            _, told = await slow.communicate()
            return slow.returncode or 0, told

    code, told = asyncio.run(killed())
    assert (code, told.decode()) == (
        1,
        f"Error: {shop.uri} took longer than 0.5 s; check the network, or allow more time.\n",
    )
    assert list(to.parent.iterdir()) == []
    assert shop.run("pull", shop.uri, "--to", to).exit_code == 0
    assert [path.name for path in to.parent.iterdir()] == [to.name]


def test_a_bar_is_drawn_on_terminals_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, so that standard output can be piped."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("⬇️ Downloading", 1000) as on_bytes:
        on_bytes(400)
        on_bytes(600)
    drawn = capsys.readouterr()
    assert drawn.out == ""
    assert "1.0/1.0 kB" in drawn.err
    monkeypatch.delenv("FORCE_COLOR")
    with bar("⬇️ Downloading", 1000) as on_bytes:
        on_bytes(1000)
    assert capsys.readouterr() == ("", "")


def test_no_credentials_are_one_sentence(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each command, also where a profile is asked for that is not there."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for command in (["versions", shop.uri], ["promote", shop.uri + "m"], ["pull", shop.uri, "--to", "m.npz"]):
        assert "The config profile (nobody) could not be found" in failed(shop.run(*command))
    assert "(nobody)" in failed(shop.run("publish", shop.file(1), shop.uri))


def test_a_command_asks_again_by_itself(shop: Shop, seaweed: Seaweed) -> None:
    """An S3 that is busy for a moment fails no script."""
    name = shop.publish(1)

    async def listed() -> tuple[int, bytes]:
        async with fault_proxy(seaweed.endpoint) as proxy:
            proxy.fail(s3_error(503, "SlowDown"), times=1)
            command = [sys.executable, "-m", "service", "versions", shop.uri]
            environment = os.environ | {"AWS_ENDPOINT_URL": proxy.endpoint}
            versions = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE)
            told, _ = await versions.communicate()
            return versions.returncode or 0, told

    code, told = asyncio.run(listed())
    assert code == 0
    assert name in told.decode()


def test_a_name_says_nothing_to_the_terminal(shop: Shop) -> None:
    """Names in a bucket are untrusted: markup and emoji codes are shown literally, escape codes are not printed."""
    name = "als_model_[red]:smile:\x1b[31m.npz"
    shop.asked(lambda models: models.put(name))
    assert "als_model_[red]:smile:\\u001b[31m.npz" in shop.run("versions", shop.uri).stdout.split()


def test_a_key_is_for_one_way_to_encrypt(shop: Shop) -> None:
    """AES256 is done with a key of S3's own."""
    done = shop.run("publish", "m.npz", shop.uri, "--sse", "AES256", "--kms-key", "k")
    assert done.exit_code == 1
    assert "--kms-key only works with --sse aws:kms" in done.output
