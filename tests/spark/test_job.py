"""What ops/spark/train.py writes is converted without options.

The fixture is what it wrote of these interactions on Spark 4.3, with --weight quantity --rank 4 --iterations 3.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from service.errors import ConversionError
from service.spark.converting import write
from service.training.plan import DEFAULT
from service.training.weighting import weighting
from tests.support.spark import FIXTURES, converted, copied, part_of

VERSION = "4.3"
JOB = FIXTURES / VERSION / "job"
NAMES = ["ana", "bo", "dan", "eve", "fay", "gus", "hal", "ida", "jan", "zoë"]
#: The file it learned from; the last four rows are a repeated pair, and three that count for nothing.
INTERACTIONS = [
    (name, f"book-{'abcdefgh'[item]}", 1 + (user * item) % 3)
    for user, name in enumerate(NAMES)
    for item in range(8)
    if (user * 5 + item * 3) % 4 == 0 or user % 8 == item
] + [("ana", "book-a", 2)]


def test_everything_beside_the_model_is_taken() -> None:
    """Ids, seen items with the sums of their weights, the weights of items, and the parameters."""
    model, remarks = converted(JOB)
    users, items = ([each.decode() for each in ids.tolist()] for ids in (model.user_ids, model.item_ids))
    assert users == NAMES
    assert items == [f"book-{letter}" for letter in "abcdefgh"]
    expected = np.zeros((len(users), len(items)), np.float32)
    for user, item, weight in INTERACTIONS:
        expected[users.index(user), items.index(item)] += weight
    assert model.seen
    found = np.zeros_like(expected)
    for row in range(len(users)):
        found[row, model.seen.of(row)] = model.seen.weights_of(row)
    assert (found == expected).all()
    assert model.alpha == 2
    assert model.regularization == pytest.approx(0.1 * len(model.seen.items) / len(users))
    assert remarks == []


def test_pairs_weigh_as_in_our_own_training() -> None:
    """Less for popular items and busy users, and such that the mean of all pairs is 1; the model file says so."""
    model, _ = converted(JOB)
    assert model.seen
    assert model.item_weights is not None
    shape = (len(model.user_ids), len(model.item_ids))
    expected = weighting(csr_matrix((model.seen.weights, model.seen.items, model.seen.indptr), shape), DEFAULT)
    np.testing.assert_allclose(model.item_weights, expected.item_weights, rtol=1e-5)
    file = io.BytesIO()
    write(model, file)
    file.seek(0)
    with np.load(file) as saved:
        assert saved["activity_discount"] == model.activity_discount == expected.activity_discount
        assert (saved["item_weights"] == model.item_weights).all()


def test_an_item_that_has_no_weight_weighs_1(tmp_path: Path) -> None:
    """As every item does if there are no weights."""
    job = copied(tmp_path, "job", VERSION)
    part = part_of(job / "item_weights")
    rows = pq.read_table(part)
    pq.write_table(rows.slice(1), part)
    weights, whole = (converted(path)[0].item_weights for path in (job, JOB))
    assert weights is not None
    assert whole is not None
    missing = rows.column("item")[0].as_py()
    assert weights[missing] == 1 != whole[missing]
    assert (np.delete(weights, missing) == np.delete(whole, missing)).all()


def test_the_options_win(tmp_path: Path) -> None:
    """Other labels may be given for the same model."""
    path = tmp_path / "labels.csv"
    path.write_text("id,label\n" + "".join(f"{number},{number + 100}\n" for number in range(10)))
    assert converted(JOB, user_labels=path)[0].user_ids.tolist() == list(range(100, 110))


def test_a_job_that_did_not_finish_is_refused(tmp_path: Path) -> None:
    """The facts are written last."""
    job = copied(tmp_path, "job", VERSION)
    (job / "facts/_SUCCESS").unlink()
    with pytest.raises(ConversionError, match=r"/facts is not complete, so the training did not finish; run it"):
        converted(job)


def test_item_weights_that_are_not_complete_are_refused(tmp_path: Path) -> None:
    """As the factors are."""
    job = copied(tmp_path, "job", VERSION)
    (job / "item_weights/_SUCCESS").unlink()
    with pytest.raises(ConversionError, match=r"/item_weights has no file _SUCCESS"):
        converted(job)


def test_facts_of_another_program_are_refused(tmp_path: Path) -> None:
    """The sentence names the directory."""
    job = copied(tmp_path, "job", VERSION)
    next((job / "facts").glob("part-*")).write_text("{}")
    with pytest.raises(ConversionError, match=r"/facts is not what train\.py writes; run it again\.$"):
        converted(job)
