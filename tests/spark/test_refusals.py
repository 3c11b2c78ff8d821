"""What cannot be converted is refused with one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import AlsServeError
from service.spark import tree
from tests.support.spark import (
    FIXTURES,
    VERSIONS,
    converted,
    copied,
    part_of,
    write_als_model,
    write_factors,
    write_metadata,
)

Damage = Callable[[Path], object]
EYE = np.eye(4, dtype=np.float32)
MLLIB = "org.apache.spark.mllib.recommendation.MatrixFactorizationModel"
KMEANS = "org.apache.spark.ml.clustering.KMeansModel"


def refusal(model: Path, **options: Any) -> str:
    """Return the sentence, without the directory of the test."""
    with pytest.raises(AlsServeError) as raised:
        converted(model, **options)
    text = str(raised.value)
    assert text.endswith((".", "]"))
    assert text.isprintable()
    return text.replace(f"{model.parent}/", "")


def rewritten(name: str, change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Return what changes the first part file of a directory."""

    def damage(model: Path) -> None:
        path = part_of(model / name)
        pq.write_table(change(pq.read_table(path)), path)

    return damage


def with_features(features: Any) -> Damage:
    """Return what replaces the features of the first part of userFactors."""
    return rewritten("userFactors", lambda table: table.set_column(1, "features", features(table.num_rows)))


def lists(rows: int, value: Any) -> pa.Array:
    """Return a list of four for each row, of which the first has this value somewhere."""
    return pa.array([[1.0, value, 1.0, 1.0], *[[1.0] * 4] * (rows - 1)], pa.list_(pa.float32()))


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    make(path)


def beyond(rows: int) -> pa.Array:
    """Return numbers that no int64 holds."""
    return pa.array(np.arange(rows, dtype=np.uint64) + 2**63)


def claim_rows(path: Path) -> None:
    """Have a file say that it has 62 rows, in its own number and in that of its rows' group."""
    pq.write_table(pq.read_table(path).slice(0, 3), path)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    number = b"\x16\x06"  # Thrift's compact form of a field of 64 bits: the type, and 3, zigzagged
    assert content.count(number, start) >= 2
    path.write_bytes(content[:start] + content[start:].replace(number, b"\x16\x7c"))


def misname(path: Path) -> None:
    """Give another column a name that is not UTF-8."""
    table = pq.read_table(path)
    pq.write_table(table.append_column("hobby", table.column("id")), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"hobby", b"h\xffbby"))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "unfinished": (
        lambda model: (model / "itemFactors/_SUCCESS").unlink(),
        "als/itemFactors has no file _SUCCESS, so Spark did not finish writing it; save or copy the model again.",
    ),
    "unfinished users": (
        lambda model: (model / "userFactors/_SUCCESS").unlink(),
        "als/userFactors has no file _SUCCESS, so Spark did not finish writing it; save or copy the model again.",
    ),
    "partial": (
        lambda model: shutil.rmtree(model / "itemFactors"),
        "als/itemFactors is missing, so the model is incomplete; save or copy it again, whole.",
    ),
    "a part lost": (
        lambda model: part_of(model / "userFactors").unlink(),
        "als/userFactors has the checksum of part-00000-* but not the file; copy the model again.",
    ),
    "a part that is a broken link": (
        lambda model: replaced(part_of(model / "userFactors"), lambda path: path.symlink_to("/nowhere")),
        "als/userFactors/part-00000-* is not a file, or a link to nothing; copy the model again.",
    ),
    "a part that is a pipe": (
        lambda model: replaced(part_of(model / "userFactors"), os.mkfifo),
        "als/userFactors/part-00000-* is not a file, or a link to nothing; copy the model again.",
    ),
    "a part that is a directory": (
        lambda model: replaced(part_of(model / "userFactors"), Path.mkdir),
        "als/userFactors/part-00000-* is not a file, or a link to nothing; copy the model again.",
    ),
    "no metadata": (
        lambda model: shutil.rmtree(model / "metadata"),
        "als has no directory metadata, so Spark did not save a model there; name the directory of model.save().",
    ),
    "empty metadata": (
        lambda model: (model / "metadata/part-00000").write_bytes(b""),
        "als/metadata has no part file; Spark writes exactly one: save the model again.",
    ),
    "two metadata": (
        lambda model: shutil.copy(part_of(model / "metadata"), model / "metadata/part-00001"),
        "als/metadata has 2 part files; Spark writes exactly one: save the model again.",
    ),
    "bad metadata": (
        lambda model: part_of(model / "metadata").write_text('{"class": 1'),
        "als/metadata is not what Spark writes; save the model again.",
    ),
    "deep metadata": (
        lambda model: part_of(model / "metadata").write_text("[" * 100_000),
        "als/metadata is not what Spark writes; save the model again.",
    ),
    "no rank": (
        write_metadata,
        "als/metadata lacks rank, userCol or itemCol; save the model again.",
    ),
    "absurd rank": (
        lambda model: write_metadata(model, rank=10**9),
        "als/metadata lacks rank, userCol or itemCol; save the model again.",
    ),
    "no rows": (
        lambda model: [part.write_bytes(b"") for part in (model / "userFactors").glob("part-*")],
        "als/userFactors has no rows; train the model on interactions that Spark does not drop.",
    ),
    "another rank": (
        with_features(lambda rows: pa.array([[1.0, 2.0]] * rows, pa.list_(pa.float32()))),
        "als/userFactors/* has 2 features for the id *; the model has the rank 4: save it to a new directory.",
    ),
    "null features": (
        with_features(lambda rows: pa.nulls(rows, pa.list_(pa.float32()))),
        "als/userFactors/* has no features for the id *; the model has the rank 4: save it to a new directory.",
    ),
    "null feature": (
        with_features(lambda rows: lists(rows, None)),
        "als/userFactors/* has a feature that is null; save the model again.",
    ),
    "nan": (
        with_features(lambda rows: lists(rows, float("nan"))),
        "userFactors has NaN or infinite numbers, first in row *; train the model again.",
    ),
    "texts": (
        with_features(lambda rows: pa.array(["x"] * rows)),
        "als/userFactors/* has features of type string instead of lists of floats; save the model again.",
    ),
    "whole numbers": (
        with_features(lambda rows: pa.array([[1] * 4] * rows)),
        "als/userFactors/* has features of type list<*> instead of lists of floats; save the model again.",
    ),
    "no column": (
        rewritten("itemFactors", lambda table: table.select(["id"])),
        "als/itemFactors/* has no column features; save it again.",
    ),
    "bad text": (
        with_features(lambda rows: pa.array([b"\xff"] * rows, pa.binary()).view(pa.string())),
        "als/userFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "two columns": (
        rewritten("userFactors", lambda table: table.append_column("id", table.column("id"))),
        "als/userFactors/* has two columns id; save it again.",
    ),
    "ids beyond 64 bits": (
        rewritten("userFactors", lambda table: table.set_column(0, "id", beyond(table.num_rows))),
        "als/userFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "fewer rows than it says": (
        lambda model: claim_rows(part_of(model / "userFactors")),
        "als/userFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "a column whose name is not text": (
        lambda model: misname(part_of(model / "userFactors")),
        "als/userFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "numbers too large": (
        with_features(lambda rows: pa.array([[1e300] * 4] * rows, pa.list_(pa.float64()))),
        "userFactors has NaN or infinite numbers, first in row *; train the model again.",
    ),
    "text ids": (
        rewritten("itemFactors", lambda table: table.set_column(0, "id", table.column("id").cast(pa.string()))),
        "als/itemFactors/* has ids that are not whole numbers; save the model again.",
    ),
    "null ids": (
        rewritten("itemFactors", lambda table: table.set_column(0, "id", pa.nulls(table.num_rows, pa.int32()))),
        "als/itemFactors/* has a row without an id; save the model again.",
    ),
    "twice": (
        rewritten("itemFactors", lambda table: pa.concat_tables([table, table])),
        "als/itemFactors has the id * twice, as if two models were mixed; save the model to a new directory.",
    ),
    "cut": (
        lambda model: cut(part_of(model / "userFactors")),
        "als/userFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "html": (
        lambda model: part_of(model / "itemFactors").write_text("<html>Access denied</html>"),
        "als/itemFactors/* is damaged or cut short: it cannot be read as Parquet; copy it again.",
    ),
    "delta": (
        lambda model: write_metadata(model / "userFactors/_delta_log"),
        "als has a Delta table, whose log says which of its files count; save the model itself, with "
        "model.write().save().",
    ),
    "rdd": (
        lambda model: write_metadata(model, MLLIB, version="1.0", rank=4),
        "als was saved by Spark's older API for RDDs (spark.mllib); train with ALS of pyspark.ml.recommendation.",
    ),
    "tuning": (
        lambda model: write_metadata(model, "org.apache.spark.ml.tuning.CrossValidator"),
        "als is CrossValidator before training; save the model that its fit() returns.",
    ),
    "empty": (
        lambda model: write_metadata(model, "org.apache.spark.ml.PipelineModel"),
        "als has no ALS model, only an empty pipeline; als-serve serves one ALS model.",
    ),
    "k-means": (
        lambda model: write_metadata(model, KMEANS),
        "als has no ALS model, only KMeansModel; als-serve serves one ALS model.",
    ),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_refused(tmp_path: Path, damage: Damage, sentence: str) -> None:
    """Whatever is wrong with a copy of a good model."""
    model = copied(tmp_path)
    damage(model)
    said, (start, *rest) = refusal(model), sentence.split("*")
    assert said.startswith(start)
    assert all(part in said for part in rest)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("estimator", "estimator is ALS before training; save the model that its fit() returns."),
        ("unfitted", "unfitted is Pipeline before training; save the model that its fit() returns."),
        ("indexer", "indexer has no ALS model, only StringIndexerModel; als-serve serves one ALS model."),
        ("indexers", "indexers has no ALS model, only StringIndexerModel; als-serve serves one ALS model."),
    ],
)
def test_what_spark_saves_besides_models_is_refused(version: str, name: str, sentence: str) -> None:
    """Estimators, and pipelines without an ALS model."""
    assert refusal(FIXTURES / version / name) == sentence


def test_a_pipeline_of_two_models_is_refused(tmp_path: Path) -> None:
    """It is not clear which one to serve."""
    model = tmp_path / "model"
    write_metadata(model, "org.apache.spark.ml.PipelineModel")
    for stage in ("0_ALS_a", "1_ALS_b"):
        write_als_model(model / "stages" / stage, EYE, EYE)
    assert refusal(model) == "model has 2 ALS models; als-serve serves one ALS model."


def test_a_model_of_mlflow_of_another_flavor_is_refused(tmp_path: Path) -> None:
    """It has no directory of Spark."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "MLmodel").touch()
    assert refusal(model) == "model is a model of MLflow without the directory sparkml; log it with mlflow.spark."


def test_what_is_not_a_directory_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere, or to a file."""
    (tmp_path / "file").touch()
    remedy = "name the directory in which Spark saved a model."
    assert refusal(tmp_path / "file") == f"file is not a directory; {remedy}"
    assert refusal(tmp_path / "nothing") == f"nothing does not exist; {remedy}"


def test_an_indexer_without_labels_is_refused(tmp_path: Path) -> None:
    """Its data is incomplete, or not that of an indexer."""
    model = copied(tmp_path, "pipeline")
    data = next(model.glob("stages/0_*/data"))
    part = part_of(data)
    labels = pa.array([[["a", None]]], pa.list_(pa.list_(pa.string())))
    for table in (pa.table({"other": [1]}), pa.table({"labelsArray": labels})):
        pq.write_table(table, part)
        assert refusal(model).endswith("/data does not have the labels of a StringIndexer; save the model again.")
    (data / "_SUCCESS").unlink()
    assert "/data has no file _SUCCESS" in refusal(model)


def test_an_indexer_without_columns_is_refused(tmp_path: Path) -> None:
    """Nothing says what its labels are of."""
    model = copied(tmp_path, "pipeline")
    path = part_of(next(model.glob("stages/0_*/metadata")))
    path.write_text(path.read_text().replace('"outputCol"', '"other"'))
    assert refusal(model).endswith("/metadata does not name the indexer's columns; save the model again.")


def test_a_directory_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with far more files than a model has is not opened file by file."""
    monkeypatch.setattr(tree, "_MOST_FILES", 7)
    assert refusal(copied(tmp_path)) == "als has over 7 files, more than a model has; name the model's directory."


def test_labels_of_another_model_are_refused(tmp_path: Path) -> None:
    """Every number with factors needs a label, and only one."""
    model = write_als_model(tmp_path / "model", EYE, EYE)
    path = tmp_path / "labels.csv"
    path.write_text("id,label\n0,a\n1,b\n2,c\n")
    assert refusal(model, user_labels=path) == (
        "labels.csv has no label for 3, which has factors; name the labels that the model was trained with."
    )
    path.write_text("id,label\n0,a\n1,b\n2,c\n3,d\n3,e\n")
    assert refusal(model, user_labels=path) == "labels.csv has two labels for 3; keep one."
    path.write_text("id,label\n0,a\n1,b\n2,c\n3,\n,e\n")
    assert refusal(model, user_labels=path) == "labels.csv has a row without an id or a label; leave it out."
    path.write_text("number,name\n0,a\n")
    assert refusal(model, user_labels=path) == (
        "labels.csv is not a CSV or Parquet file with the columns id (whole numbers) and label."
    )
    table = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": [0], "label": [True]}), table)
    assert refusal(model, user_labels=table) == "labels.parquet has labels of type bool; use numbers or text."
    pq.write_table(pa.table({"id": ["0", "x"], "label": ["a", "b"]}), path)
    assert refusal(model, user_labels=path) == (
        "labels.csv has ids that are not whole numbers, or labels that are not text; write it again."
    )
    pq.write_table(pa.table({"id": pa.array([], pa.int32()), "label": pa.array([], pa.string())}), path)
    assert refusal(model, user_labels=path).startswith("labels.csv has no label for 0, which has factors;")
    path.write_text("id,label\n0,a\n1,b\n2,c\n3,a\n")
    assert refusal(model, user_labels=path) == "user_ids has the id 'a' for row 0 and for row 3; ids must be unique."


def test_an_unknown_number_of_an_indexer_is_refused(tmp_path: Path) -> None:
    """Only handleInvalid="keep" has a number without a label, and only one."""
    model = copied(tmp_path, "pipeline")
    stage = next(model.glob("stages/*_ALS_*"))
    write_factors(stage / "userFactors", np.array([0, 11], np.int32), EYE[:2])
    shutil.rmtree(stage / "userFactors")
    write_factors(stage / "userFactors", np.array([0, 11], np.int32), EYE[:2])
    assert "has no label for 11, which has factors" in refusal(model)


def test_an_indexer_of_two_columns_is_not_a_table_of_labels() -> None:
    """It is not clear which of the columns is meant."""
    labels = next((FIXTURES / VERSIONS[0] / "both").glob("stages/0_*"))
    said = refusal(FIXTURES / VERSIONS[0] / "als", user_labels=labels)
    assert said.endswith("is not a StringIndexerModel of one column; name one, or a table of labels.")


def test_seen_items_of_others_are_refused(tmp_path: Path) -> None:
    """Not one pair is of the model, so the ids are others."""
    model = write_als_model(tmp_path / "model", EYE, EYE)
    path = tmp_path / "seen.csv"
    path.write_text("user_id,item_id\nana,x\nbo,y\n")
    assert refusal(model, seen=path) == (
        "seen.csv has no interaction of a user and an item of the model; give the model's own ids, or name the columns "
        "user and item if they have Spark's numbers."
    )
