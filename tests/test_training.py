from __future__ import annotations

import gzip
import os
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import TrainingError
from service.model.formats import read
from service.model.validation import validate
from service.training.als import TrainedModel, save_npz, save_pickle, train
from service.training.interactions import Interactions, read_interactions

Save: TypeAlias = Callable[[TrainedModel, Path], None]

SMALL = "user_id,item_id,quantity\nben,7,1\nana,7,2\nana,3,1\nchloe,11,1.5\nchloe,3,1\n"


def write(path: Path, text: str) -> Path:
    """Write a text file and return its path."""
    path.write_text(text, encoding="utf-8")
    return path


def as_dict(interactions: Interactions) -> dict[tuple[object, object], float]:
    """Return {(user id, item id): weight}."""
    users, items = interactions.user_ids.tolist(), interactions.item_ids.tolist()
    pairs = interactions.weights.tocoo()
    entries = zip(pairs.row, pairs.col, pairs.data, strict=True)
    return {(users[row], items[column]): float(weight) for row, column, weight in entries}


@pytest.fixture
def small(tmp_path: Path) -> Interactions:
    """Five interactions of three users with three items."""
    return read_interactions(write(tmp_path / "small.csv", SMALL))


@pytest.fixture
def model(small: Interactions) -> TrainedModel:
    """Train a few iterations on the five interactions."""
    return train(small, factors=4, iterations=3)


class TestReading:
    """Interactions from files."""

    def test_what_is_read(self, small: Interactions) -> None:
        """Ids ascend, numbers stay numbers and text stays text, and each pair has its weight."""
        assert small.user_ids.tolist() == ["ana", "ben", "chloe"]
        assert small.item_ids.tolist() == [3, 7, 11]
        assert small.item_ids.dtype == np.int64
        assert small.weights.dtype == np.float32
        assert as_dict(small) == {
            ("ana", 3): 1, ("ana", 7): 2, ("ben", 7): 1, ("chloe", 3): 1, ("chloe", 11): 1.5,
        }  # fmt: skip

    def test_gzip_is_recognized_by_content(self, tmp_path: Path, small: Interactions) -> None:
        """A gzipped file is read whatever it is called."""
        path = tmp_path / "small.csv"
        path.write_bytes(gzip.compress(SMALL.encode()))
        assert as_dict(read_interactions(path)) == as_dict(small)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("user_id,item_id\na,x\na,x\n", {("a", "x"): 2}),
            ("item_id,when,weight,user_id\nx,noon,3,a\n", {("a", "x"): 3}),
            ("\ufeffuser_id,item_id\r\na,x\r\n\r\nb,x\r\n", {("a", "x"): 1, ("b", "x"): 1}),
            ('user_id,item_id\n"a,b","x\ny"\n', {("a,b", "x\ny"): 1}),
            ("user_id,item_id\n1,042\n-2,7\n", {(1, "042"): 1, (-2, "7"): 1}),
            ("user_id,item_id\n1,9223372036854775808\n", {(1, "9223372036854775808"): 1}),
            (f"user_id,item_id\n{'é' * 128},x\n", {("é" * 128, "x"): 1}),
        ],
        ids=["repeats are summed", "columns in any order", "BOM, CRLF, empty lines", "quotes",
             "one text makes a column text", "too large for int64", "longest id"],
    )  # fmt: skip
    def test_forms_of_csv(self, tmp_path: Path, text: str, expected: dict[tuple[object, object], float]) -> None:
        """What spreadsheets and databases write is read as it is meant."""
        (tmp_path / "some.csv").write_bytes(text.encode())
        assert as_dict(read_interactions(tmp_path / "some.csv")) == expected

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(st.tuples(st.integers(-3, 20), st.sampled_from("xyzü"), st.integers(1, 9)), min_size=1),
    )
    def test_a_pair_weighs_the_sum_of_its_rows(self, tmp_path: Path, rows: list[tuple[int, str, int]]) -> None:
        """In whatever order rows come and repeat, no weight is lost, and the matrix is in canonical form."""
        expected: dict[tuple[object, object], float] = defaultdict(float)
        for user, item, weight in rows:
            expected[user, item] += weight
        lines = [f"{user},{item},{weight}\n" for user, item, weight in rows]
        path = write(tmp_path / "rows.csv", "user_id,item_id,weight\n" + "".join(lines))
        read = read_interactions(path)
        assert as_dict(read) == expected
        assert read.weights.has_canonical_format

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "line 1: the header lacks user_id and item_id; it has nothing"),
            ("user,item_id\na,x\n", "line 1: the header lacks user_id; it has user, item_id"),
            ("user_id,item_id,weight,quantity\n",
             "line 1: the header has quantity and weight; keep the one that counts"),
            ("user_id,item_id\na,x\nb\n", "line 3: there are 1 fields, and the header has 2"),
            ("user_id,item_id\n,x\n", "line 2: user_id is empty; an id is 1 to 256 bytes of text without NUL"),
            (f"user_id,item_id\na,{'é' * 129}\n",
             f"line 2: item_id is '{'é' * 20}'…; an id is 1 to 256 bytes of text without NUL"),
            ("user_id,item_id\na,x\0y\n", r"line 2: item_id is 'x\x00y'…; an id is 1 to 256 bytes of text without NUL"),
            ("user_id,item_id,weight\na,x,many\n",
             "line 2: the weight is 'many'; it has to be a number above 0, at most 1e15"),
            ("user_id,item_id,weight\na,x,0\n",
             "line 2: the weight is '0'; it has to be a number above 0, at most 1e15"),
            ("user_id,item_id,weight\na,x,nan\n",
             "line 2: the weight is 'nan'; it has to be a number above 0, at most 1e15"),
            ('user_id,item_id\n"a"b,x\n', "line 2: ',' expected after '\"'"),
        ],
    )  # fmt: skip
    def test_a_bad_row_is_named(self, tmp_path: Path, text: str, complaint: str) -> None:
        """The first thing that makes no sense is named, with its line."""
        path = write(tmp_path / "bad.csv", text)
        with pytest.raises(TrainingError) as caught:
            read_interactions(path)
        assert str(caught.value) == f"{path}, {complaint}."

    def test_a_header_alone(self, tmp_path: Path) -> None:
        """No interactions is no model."""
        path = write(tmp_path / "empty.csv", "user_id,item_id\n")
        with pytest.raises(TrainingError, match=r"empty\.csv has a header and no interactions\.$"):
            read_interactions(path)

    @pytest.mark.parametrize(
        "content",
        [None, b"user_id,item_id\na,\xff\n", gzip.compress(SMALL.encode())[:-9], b"\x1f\x8b\x08\x00 rubbish"],
        ids=["missing", "not UTF-8", "gzip cut short", "not gzip after all"],
    )
    def test_an_unreadable_file(self, tmp_path: Path, content: bytes | None) -> None:
        """Whatever cannot be read is said in one sentence that begins with the file."""
        path = tmp_path / "data.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TrainingError) as caught:
            read_interactions(path)
        assert str(caught.value).startswith(f"{path} cannot be read as CSV in UTF-8, plain or gzipped: ")


class TestTraining:
    """Factors from interactions."""

    def test_shapes(self, small: Interactions, model: TrainedModel) -> None:
        """There is one row of factors for each id."""
        assert model.user_factors.shape == (len(small.user_ids), 4)
        assert model.item_factors.shape == (len(small.item_ids), 4)
        assert model.user_factors.dtype == model.item_factors.dtype == np.float32

    def test_the_seed_decides(self, small: Interactions) -> None:
        """The same seed gives the same factors; another gives others."""
        first, again, other = (train(small, factors=4, seed=seed).item_factors for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_what_was_had_scores_high(self, small: Interactions) -> None:
        """The factors stand for the interactions: what a user had scores above what the user did not."""
        model = train(small, factors=3, regularization=0.01, alpha=20)
        scores = model.user_factors @ model.item_factors.T
        had = small.weights.toarray() > 0
        assert scores[had].min() > scores[~had].max()

    def test_weights_beyond_float32(self, small: Interactions) -> None:
        """Numbers that ALS cannot work with are no model, and the sentence says what to change."""
        with pytest.raises(TrainingError, match=r"the largest is 2\) need a smaller alpha than 1e\+38\.$"):
            train(small, factors=4, alpha=1e38)

    def test_progress_is_shown_when_asked_for(self, small: Interactions, capsys: pytest.CaptureFixture[str]) -> None:
        """A bar counts the iterations, and nothing is printed otherwise."""
        train(small, iterations=2)
        assert capsys.readouterr().out == ""
        train(small, iterations=2, progress=True)
        assert "2/2" in capsys.readouterr().out


class TestWriting:
    """Model files from factors."""

    def test_npz(self, tmp_path: Path, model: TrainedModel) -> None:
        """The npz form has the factors, ids, seen items and parameters, and no objects."""
        save_npz(model, tmp_path / "model.npz")
        with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
            written = {name: arrays[name] for name in arrays.files}
        assert np.array_equal(written.pop("user_factors"), model.user_factors)
        assert np.array_equal(written.pop("item_factors"), model.item_factors)
        assert {name: array.tolist() for name, array in written.items()} == {
            "user_ids": ["ana", "ben", "chloe"],
            "item_ids": [3, 7, 11],
            "seen_indptr": [0, 2, 3, 5],
            "seen_indices": [0, 1, 1, 0, 2],
            "seen_weights": [1, 2, 1, 1, 1.5],
            "regularization": 0.05,
            "alpha": 4.0,
        }

    def test_npz_of_unchanged_data_is_unchanged(self, tmp_path: Path, small: Interactions) -> None:
        """Training again on the same data gives the same bytes, so a server has nothing to swap."""
        for name in ("first.npz", "again.npz"):
            save_npz(train(small, factors=4), tmp_path / name)
        assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()

    def test_pickle(self, tmp_path: Path, model: TrainedModel) -> None:
        """The pickle form has the six components, with ids as plain numbers and text."""
        save_pickle(model, tmp_path / "model.pkl")
        components = pickle.loads((tmp_path / "model.pkl").read_bytes())
        assert np.array_equal(components.pop("model").item_factors, model.item_factors)
        assert (components.pop("sparse_matrix") != model.interactions.weights).nnz == 0
        assert components == {
            "user_id_map": {0: "ana", 1: "ben", 2: "chloe"},
            "product_id_map": {0: 3, 1: 7, 2: 11},
            "reverse_user_id_map": {"ana": 0, "ben": 1, "chloe": 2},
            "reverse_product_id_map": {3: 0, 7: 1, 11: 2},
        }

    @pytest.mark.parametrize("save", [save_npz, save_pickle])
    def test_serving_reads_what_was_written(self, tmp_path: Path, model: TrainedModel, save: Save) -> None:
        """Either form passes the gates and arrives with the same factors, ids, seen items and parameters."""
        path = tmp_path / "model"
        save(model, path)
        with path.open("rb") as file:
            served = validate(read(path, file))
        assert np.array_equal(served.user_factors, model.user_factors)
        assert np.array_equal(served.item_factors, model.item_factors)
        assert served.user_ids.tolist() == [b"ana", b"ben", b"chloe"]
        assert served.item_ids.tolist() == [3, 7, 11]
        assert served.seen is not None
        assert served.seen.indptr.tolist() == [0, 2, 3, 5]
        assert served.seen.items.tolist() == [0, 1, 1, 0, 2]
        assert served.seen.weights.tolist() == [1, 2, 1, 1, 1.5]
        assert (served.regularization, served.alpha) == (0.05, 4.0)

    @pytest.mark.parametrize("save", [save_npz, save_pickle])
    def test_only_the_model_remains(self, tmp_path: Path, model: TrainedModel, save: Save) -> None:
        """The file replaces the one before it, everyone may read it, and nothing else is left."""
        (tmp_path / "models").mkdir()
        path = write(tmp_path / "models" / "model", "the one before")
        save(model, path)
        umask = os.umask(0)
        os.umask(umask)
        assert list(path.parent.iterdir()) == [path]
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask
        assert path.stat().st_size > 500

    @pytest.mark.parametrize("save", [save_npz, save_pickle])
    def test_a_failure_leaves_nothing(self, tmp_path: Path, model: TrainedModel, save: Save) -> None:
        """Where the model cannot be put, one sentence says so, and no part of it remains."""
        path = tmp_path / "models" / "model"
        path.mkdir(parents=True)
        with pytest.raises(TrainingError, match=f"^The model cannot be written to {path}: Is a directory\\.$"):
            save(model, path)
        assert list(path.parent.iterdir()) == [path]
