"""The command convert, and publish of a directory: the real process that reads, and a model that is served."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.s3.location import Location
from tests.support.bucket import Models
from tests.support.published import let_in
from tests.support.running import running_server
from tests.support.seaweed import Seaweed
from tests.support.spark import FIXTURES, VERSIONS, copied, part_of, write_als_model, write_factors

EYE = np.eye(4, dtype=np.float32)


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output
    return result


def refusal(*arguments: object) -> str:
    """Return the error of a command that fails."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    return result.stderr.removeprefix("Error: ").strip()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_converted_model_is_served(tmp_path: Path, version: str) -> None:
    """The real server answers with the labels of Spark's indexers, without what the user had."""
    (tmp_path / "seen.csv").write_text("user,item\nana,book-a\nzoë,book-b\n", encoding="utf-8")
    out = tmp_path / "als_model.npz"
    result = run("convert", FIXTURES / version / "pipeline", out, "--seen", tmp_path / "seen.csv")
    assert result.exit_code == 0, result.stderr
    assert "11 users × 8 items × 4 factors, seen 2 pairs" in result.stdout
    with running_server(out, tmp_path / "state") as server:
        server.wait_until_ready()
        status, answer = server.get("/v1/users/ana/recommendations?n=8")
        assert status == 200
        items = [item["item_id"] for item in answer["items"]]
        assert len(items) == 7
        assert "book-a" not in items
        assert server.get("/v1/users/nobody/recommendations")[1]["strategy"] == "popular"


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    """Without labels and seen items, the output says what the model cannot do."""
    result = run("convert", FIXTURES / VERSIONS[0] / "als", tmp_path / "m.npz")
    assert [line for line in result.stdout.splitlines() if line.startswith("⚠️")] == [
        "⚠️ userFactors has no labels, so the ids are Spark's numbers of the column user_number",
        "⚠️ itemFactors has no labels, so the ids are Spark's numbers of the column item_number",
        "⚠️ without --seen, users are recommended what they already had, and nothing is popular",
    ]


def test_a_refusal_changes_nothing(tmp_path: Path) -> None:
    """The sentence of the process is shown, the file at the path stays, and nothing is left beside it."""
    model, out = copied(tmp_path), tmp_path / "out/m.npz"
    out.parent.mkdir()
    assert run("convert", model, out).exit_code == 0
    before = out.read_bytes()
    part = part_of(model / "userFactors")
    part.write_bytes(part.read_bytes()[:100])
    assert refusal("convert", model, out) == (
        f"{part} is damaged or cut short: it cannot be read as Parquet; copy it again."
    )
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == ["m.npz"]  # noqa: PTH208 - hidden files, too


def test_only_a_model_is_overwritten(tmp_path: Path) -> None:
    """A mistyped path does not cost a file."""
    (tmp_path / "notes.txt").write_text("precious")
    said = refusal("convert", FIXTURES / VERSIONS[0] / "als", tmp_path / "notes.txt")
    assert said == f"{tmp_path}/notes.txt is not a model and would be overwritten; name another path."
    os.mkfifo(tmp_path / "pipe.npz")
    assert "pipe.npz is not a model" in refusal("convert", FIXTURES / VERSIONS[0] / "als", tmp_path / "pipe.npz")


@pytest.mark.parametrize("option", ["--alpha", "--reg-param"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_parameter_is_a_number(tmp_path: Path, option: str, value: str) -> None:
    """Infinity and NaN are refused like any other wrong value."""
    result = run("convert", FIXTURES / VERSIONS[0] / "als", tmp_path / "m.npz", option, value)
    assert result.exit_code == 2
    assert f"{value} is not a number." in result.stderr


def test_a_bomb_of_parquet_stays_within_its_memory(tmp_path: Path) -> None:
    """A small file that stands for much more than the limit ends the process that reads it, not the machine."""
    model = write_als_model(tmp_path / "model", EYE, EYE)
    rows, rank = 2**14, 2**12
    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rank, np.int32)), pa.array([1.0], pa.float32()))
    row = pa.array([values.dictionary_decode().to_pylist()], pa.list_(pa.float32()))
    write_factors(model / "userFactors", np.arange(4), EYE)
    part = part_of(model / "userFactors")
    with pq.ParquetWriter(part, pa.schema({"id": pa.int64(), "features": row.type}), compression="zstd") as writer:
        for start in range(0, rows, 2**10):
            writer.write_batch(
                pa.record_batch(
                    [pa.array(np.arange(start, start + 2**10)), row.take(pa.array(np.zeros(2**10, np.int32)))],
                    names=["id", "features"],
                )
            )
    (model / "metadata/part-00000").write_text(
        (model / "metadata/part-00000").read_text().replace('"rank": 4', f'"rank": {rank}')
    )
    assert part.stat().st_size < 2**22
    said = refusal("convert", model, tmp_path / "m.npz", "--import-memory-mb", 250)
    remedy = "raise ALS_IMPORT_MEMORY_MB if you trust the files."
    assert said == f"{model} needs more than 250 MB of memory to convert; {remedy}"


def test_a_conversion_has_its_time(tmp_path: Path) -> None:
    """A process that takes longer is killed."""
    said = refusal("convert", FIXTURES / VERSIONS[0] / "als", tmp_path / "m.npz", "--import-timeout-seconds", 0.001)
    assert "was not converted within 0.001 s" in said


@pytest.fixture
def prefix(seaweed: Seaweed, plain_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Location:
    """Return a prefix in S3 with a model that Spark saved, and let the commands in."""
    let_in(monkeypatch, seaweed.environment(), seaweed.endpoint)

    async def put() -> Location:
        async with seaweed.client() as client:
            models = Models(client, plain_bucket)
            source = FIXTURES / VERSIONS[0] / "als"
            for path in source.rglob("*"):
                if path.is_file():
                    await models.put(f"spark/{path.relative_to(source)}", path.read_bytes())
            return models.prefix

    return asyncio.run(put())


def test_a_model_in_s3_is_converted(prefix: Location, tmp_path: Path) -> None:
    """A prefix is downloaded, with or without a slash, and gives the same file as the directory."""
    files = []
    for number, model in enumerate([FIXTURES / VERSIONS[0] / "als", f"{prefix}spark/", f"{prefix}spark"]):
        out = tmp_path / f"{number}.npz"
        result = run("convert", model, out)
        assert result.exit_code == 0, result.stderr
        with np.load(out) as arrays:
            files.append({name: arrays[name].tolist() for name in arrays.files})
    assert files[0] == files[1] == files[2]


def test_a_prefix_without_objects_is_refused(prefix: Location, tmp_path: Path) -> None:
    """The sentence names the prefix."""
    said = refusal("convert", f"{prefix}nothing/", tmp_path / "m.npz")
    assert said == f"There is nothing under {prefix}nothing/; name the directory in which Spark saved a model."


def test_what_is_wrong_with_a_model_in_s3_is_said_of_the_prefix(
    prefix: Location, seaweed: Seaweed, plain_bucket: str, tmp_path: Path
) -> None:
    """Not of the temporary directory that it was downloaded to, which is gone."""

    async def lose() -> None:
        async with seaweed.client() as client:
            await client.delete_object(Bucket=plain_bucket, Key=f"{prefix.key}spark/itemFactors/_SUCCESS")

    asyncio.run(lose())
    assert refusal("convert", f"{prefix}spark", tmp_path / "m.npz") == (
        f"{prefix}spark/itemFactors has no file _SUCCESS, so Spark did not finish writing it; save or copy the model "
        "again."
    )


def test_a_prefix_is_published_as_a_model_file(prefix: Location, tmp_path: Path) -> None:
    """What Spark wrote to S3 is converted and published by one command."""
    uri, out = f"{prefix}published/", tmp_path / "pulled.npz"
    result = run("publish", f"{prefix}spark/", uri)
    assert result.exit_code == 0, result.stderr
    assert f"🔁 Converted {prefix}spark/: 11 users × 8 items × 4 factors, seen unknown" in result.stdout
    assert run("pull", uri, "--to", out).exit_code == 0
    with np.load(out) as arrays:
        assert len(arrays["user_ids"]) == 11


def test_a_directory_is_published_as_a_model_file(prefix: Location, tmp_path: Path) -> None:
    """It is converted with the same options, and published like any model."""
    seen = tmp_path / "seen.csv"
    seen.write_text("user_number,item_number\n10,100\n13,107\n")
    uri = f"{prefix}published/"
    result = run("publish", FIXTURES / VERSIONS[0] / "als", uri, "--seen", seen)
    assert result.exit_code == 0, result.stderr
    assert "seen 2 pairs" in result.stdout
    assert re.search(rf"✅ Published {uri}als_model_\d{{8}}_\d{{6}}\.npz", result.stdout)
    out = tmp_path / "pulled.npz"
    assert run("pull", uri, "--to", out).exit_code == 0
    with np.load(out) as arrays:
        assert arrays["seen_indices"].tolist() == [0, 1]
