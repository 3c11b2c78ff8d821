"""Models of Spark become ours: every layout, with the numbers and the recommendations that Spark has."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.arranging import arrange
from service.model.factors import Factors
from service.model.formats.reading import read
from service.model.scoring.scoring import recommend
from service.model.validation.validation import validate
from service.spark.converting import write
from service.spark.factors import read_factors
from service.spark.tree import Tree
from service.training.data_files import DataFile
from tests.support.spark import (
    FIXTURES,
    VERSIONS,
    converted,
    copied,
    factors_of,
    part_of,
    write_als_model,
    write_factors,
    write_metadata,
)

NAMES = ["ana", "bo", "dan", "eve", "fay", "gus", "hal", "ida", "jan", "nobody", "zoë"]
ITEMS = [f"book-{letter}" for letter in "abcdefgh"]
PIPELINES = ["pipeline", "both", "nested", "keep", "mlflow"]


def texts(ids: Any) -> list[str]:
    """Return the ids of validated factors as text."""
    return [each.decode() for each in ids.tolist()]


def written(model: Factors) -> bytes:
    """Return the model file."""
    file = io.BytesIO()
    write(model, file)
    return file.getvalue()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_als_model_has_the_numbers_and_the_factors_of_spark(version: str) -> None:
    """Rows of all part files, each with its number, as the plainest reading has them."""
    model, remarks = converted(FIXTURES / version / "als")
    for name, ids, factors in (
        ("userFactors", model.user_ids, model.user_factors),
        ("itemFactors", model.item_ids, model.item_factors),
    ):
        expected = factors_of(FIXTURES / version / "als" / name)
        assert ids.tolist() == sorted(expected)
        assert all((row == expected[number]).all() for number, row in zip(ids.tolist(), factors, strict=True))
    assert [remark.partition(",")[0] for remark in remarks] == [
        "userFactors has no labels",
        "itemFactors has no labels",
        "without --seen",
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("layout", PIPELINES)
def test_a_pipeline_has_the_labels_of_its_indexers(version: str, layout: str) -> None:
    """Two indexers, one of two columns, pipelines in pipelines, MLflow; what stands for others is left out."""
    model, remarks = converted(FIXTURES / version / layout)
    assert sorted(texts(model.user_ids)) == NAMES
    assert sorted(texts(model.item_ids)) == ITEMS
    assert any("handleInvalid" in remark for remark in remarks) == (layout == "keep")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tuned_model_is_its_best_model(version: str) -> None:
    """A TrainValidationSplitModel or CrossValidatorModel contains the model to serve."""
    assert len(converted(FIXTURES / version / "tuned")[0].user_ids) > 0


@pytest.mark.parametrize("kind", ["CrossValidatorModel", "TrainValidationSplitModel"])
def test_both_kinds_of_tuning_are_known(tmp_path: Path, kind: str) -> None:
    """They are saved alike, except for the class."""
    write_metadata(tmp_path, f"org.apache.spark.ml.tuning.{kind}")
    write_als_model(tmp_path / "bestModel", np.eye(3), np.eye(3))
    assert converted(tmp_path)[0].user_ids.tolist() == [0, 1, 2]


def test_a_model_of_mlflow_is_found_among_the_artifacts_of_a_run(tmp_path: Path) -> None:
    """MLflow logs a model to the directory model of a run."""
    shutil.copytree(FIXTURES / VERSIONS[0] / "mlflow", tmp_path / "model")
    assert sorted(texts(converted(tmp_path)[0].user_ids)) == NAMES


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("layout", ["als", "pipeline", "both", "nested"])
def test_recommendations_are_those_of_spark(version: str, layout: str) -> None:
    """What a server answers without seen items is what recommendForAllUsers says; equal scores are in any order."""
    top = json.loads((FIXTURES / version / "top.json").read_text())[layout]
    model, _ = converted(FIXTURES / version / layout)
    served = arrange(model)
    stage = next((FIXTURES / version / layout).glob("stages/*_ALS_*"), FIXTURES / version / layout)
    # Both are in the order of Spark's numbers.
    users, items = (sorted(factors_of(stage / name)) for name in ("userFactors", "itemFactors"))
    ids = [each if isinstance(each, int) else each.decode() for each in model.item_ids.tolist()]
    for user, number in enumerate(users):
        if not model.user_factors[user].any():
            continue
        wanted = model.user_ids[user]
        row = served.user_ids.row(wanted.item() if wanted.dtype.kind == "i" else wanted.decode())
        assert row is not None
        ranked = recommend(served, row, 5)
        expected = top[str(number)]
        np.testing.assert_allclose(ranked.scores, [score for _, score in expected], atol=1e-6)
        theirs = {ids[items.index(int(item))]: score for item, score in expected}
        lowest = min(theirs.values())
        for item, score in zip(served.item_ids.at(ranked.rows), ranked.scores.tolist(), strict=True):
            assert theirs.get(item, lowest) == pytest.approx(score, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_recommendations_are_the_best_dot_products(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """For any factors, numbers, order of rows and number of part files, top-N is NumPy's on Spark's factors."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    users, items, rank = (data.draw(st.integers(1, most)) for most in (8, 40, 9))
    factors = [rng.normal(size=(count, rank)).astype(np.float32) for count in (users, items)]
    numbers = [rng.choice(10_000, count, replace=False).astype(np.int32) for count in (users, items)]
    parts, place = data.draw(st.integers(1, 4)), tmp_path_factory.mktemp("spark") / "model"
    directory = write_als_model(place, factors[0], factors[1], parts, (numbers[0], numbers[1]))
    served = arrange(validate(read(Path("m"), io.BytesIO(written(converted(directory)[0])))))
    n = data.draw(st.integers(1, items))
    for user, number in enumerate(numbers[0].tolist()):
        scores = factors[1].astype(np.float64) @ factors[0][user].astype(np.float64)
        row = served.user_ids.row(number)
        assert row is not None
        ranked = recommend(served, row, n)
        np.testing.assert_allclose(ranked.scores, np.sort(scores)[::-1][:n], rtol=1e-4, atol=1e-5)
        found = [numbers[1].tolist().index(item) for item in served.item_ids.at(ranked.rows)]
        np.testing.assert_allclose(scores[found], ranked.scores, rtol=1e-4, atol=1e-5)


def test_rows_of_zeros_stray_files_and_empty_parts_are_accepted(tmp_path: Path) -> None:
    """Spark gives zeros to users whose interactions weigh nothing; others leave files beside a model."""
    directory = copied(tmp_path)
    for name in (
        "notes.txt",
        "userFactors/_committed_123",
        "userFactors/.hidden",
        "userFactors/part-00009-empty.parquet",
        ".staging/.part-00000.parquet.crc",
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).touch()
    model, _ = converted(directory)
    nobody = model.user_ids.tolist().index(999)
    assert not model.user_factors[nobody].any()


def test_a_stage_in_python_may_have_nan(tmp_path: Path) -> None:
    """Python writes the parameters of its stages, of which some are NaN, with no JSON for it."""
    model = copied(tmp_path, "pipeline")
    write_metadata(model / "stages/9_Custom_0", "shop.Custom", {"missing": float("nan")})
    assert len(converted(model)[0].user_ids) == len(NAMES)


def test_features_of_older_files_and_of_doubles_are_read(tmp_path: Path) -> None:
    """A list's elements have had several names, and Arrow has several kinds of lists."""
    numbers, features = np.arange(3), np.arange(6, dtype=np.float64).reshape(3, 2)
    for name, kind in {
        "legacy": pa.list_(pa.field("array", pa.float32())),
        "large": pa.large_list(pa.float64()),
        "fixed": pa.list_(pa.float32(), 2),
    }.items():
        directory = write_als_model(tmp_path / name, features, features)
        write_factors(directory / "userFactors", numbers, pa.array(features.tolist(), kind))
        assert (converted(directory)[0].user_factors == features).all()


def test_parts_may_be_compressed_in_other_ways(tmp_path: Path) -> None:
    """Spark's configuration says how; the name of a part says so, too."""
    directory = write_als_model(tmp_path, np.eye(3), np.eye(3))
    for compression in ("zstd", "gzip", "lz4", "none"):
        shutil.rmtree(directory / "userFactors")
        write_factors(directory / "userFactors", np.arange(3), 2 * np.eye(3), compression=compression)
        assert (converted(directory)[0].user_factors == 2 * np.eye(3)).all()


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "directory", "indexer"])
def test_labels_may_be_given(tmp_path: Path, form: str) -> None:
    """As a table in several forms, or as the StringIndexerModel; rows in any order, and more than the model has."""
    users = np.eye(3, dtype=np.float32)
    directory = write_als_model(tmp_path / "model", users, users)
    table = pa.table({"label": ["c", "b", "a", "cold"], "id": [2, 1, 0, 7]})
    path = {"indexer": FIXTURES / VERSIONS[0] / "indexer", "directory": tmp_path / "labels"}.get(
        form, tmp_path / f"labels.{form}"
    )
    if form == "directory":
        path.mkdir()
        for part in range(2):
            pq.write_table(table.slice(part * 2, 2), path / f"part-{part}.snappy.parquet")
    elif form == "parquet":
        pq.write_table(table, path)
    elif form.startswith("csv"):
        text = "".join(f"{row['label']},{row['id']}\n" for row in table.to_pylist()).encode()
        path.write_bytes(gzip.compress(b"label,id\n" + text) if form == "csv.gz" else b"label,id\n" + text)
    model, _ = converted(directory, user_labels=path)
    assert len(model.user_ids) == 3
    if form != "indexer":
        assert texts(model.user_ids) == ["a", "b", "c"]
    assert model.item_ids.tolist() == [0, 1, 2]


def test_labels_that_are_all_numbers_are_numbers(tmp_path: Path) -> None:
    """As everywhere, 42 is a number and 042 is text; 42.0, as Spark writes a double, is the number."""
    users = np.eye(2, dtype=np.float32)
    directory = write_als_model(tmp_path / "model", users, users)
    for name, labels in {"numbers": ["42.0", "-7"], "texts": ["42", "042"]}.items():
        pq.write_table(pa.table({"id": [0, 1], "label": labels}), tmp_path / f"{name}.parquet")
    options = {"user_labels": tmp_path / "numbers.parquet", "item_labels": tmp_path / "texts.parquet"}
    model, _ = converted(directory, **options)
    assert model.user_ids.tolist() == [42, -7]
    assert texts(model.item_ids) == ["42", "042"]


@pytest.mark.parametrize("named", ["labels", "numbers"])
def test_seen_items_are_joined_by_labels_or_by_numbers(tmp_path: Path, named: str) -> None:
    """The columns that Spark was trained on have its numbers; others have ids. Pairs of cold users are left out."""
    users, items = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)
    directory = write_als_model(tmp_path / "model", users, items)
    pq.write_table(pa.table({"id": [0, 1], "label": ["ana", "bo"]}), tmp_path / "users.parquet")
    pq.write_table(pa.table({"id": [0, 1], "label": ["42", "43"]}), tmp_path / "items.parquet")
    path = tmp_path / "seen.csv"
    path.write_text(
        "user,item,rating\n0,1,2\n0,1,3\n1,0,1\n9,0,1\n,0,1\n"
        if named == "numbers"
        else "user_id,item_id,rating\nana,43,2\nana,43,3\nbo,42,1\ncold,42,1\n,42,1\n"
    )
    labels = {"user_labels": tmp_path / "users.parquet", "item_labels": tmp_path / "items.parquet"}
    model, remarks = converted(directory, seen=path, **labels)
    assert model.seen
    assert [model.seen.of(row).tolist() for row in range(2)] == [[1], [0]]
    assert model.seen.weights.tolist() == [5, 1]
    assert any(remark.startswith(f"1 pairs of {path} are of users or items without factors") for remark in remarks)
    assert f"1 rows of {path} were skipped; the first: {path}, line 6: the user is missing" in " ".join(remarks)


def test_parameters_are_those_nearest_to_spark(tmp_path: Path) -> None:
    """Spark's confidence is 1 + alpha for a weight of 1, and regParam counts once for each pair of a user."""
    factors = np.eye(2, dtype=np.float32)
    directory = write_als_model(tmp_path / "model", factors, factors)
    path = tmp_path / "seen.csv"
    path.write_text("user,item\n0,0\n0,1\n1,0\n")
    model, _ = converted(directory, seen=path, alpha=20.0, reg_param=0.2)
    assert model.alpha == 21
    assert model.regularization == pytest.approx(0.2 * 1.5)


def test_a_model_file_is_read_as_it_was_converted(tmp_path: Path) -> None:
    """The npz has everything: factors, ids, seen items and parameters."""
    path = tmp_path / "seen.csv"
    path.write_text("user,item\nana,book-a\nzoë,book-b\n", encoding="utf-8")
    model, _ = converted(FIXTURES / VERSIONS[0] / "pipeline", seen=path)
    again = validate(read(Path("m"), io.BytesIO(written(model))))
    assert model.seen
    assert again.seen
    for name in ("user_factors", "item_factors", "user_ids", "item_ids"):
        assert (getattr(again, name) == getattr(model, name)).all()
    assert (again.alpha, again.regularization) == (model.alpha, model.regularization)
    assert again.seen.items.tolist() == model.seen.items.tolist()


def test_a_file_is_read_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large it is, and its groups of rows, which have 128 MB in Spark."""
    factors = np.random.default_rng(0).random((30_000, 32), np.float32)
    write_factors(tmp_path, np.arange(len(factors)), factors)
    file, sizes = DataFile(part_of(tmp_path), part_of(tmp_path).stat().st_size), list[int]()
    assert file.size > 3 * 2**20

    class Recording(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            sizes.append(len(found))
            return found

    monkeypatch.setattr(DataFile, "open", lambda file: Recording(file.path))
    assert (read_factors(Tree(tmp_path, {"part-0": file}), 32).factors == factors).all()
    assert max(sizes) <= 2**20
