"""Model files as people have them: other keys, other values beside the model, ids of other types."""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
import re
import sys
import types
import uuid
import zipfile
import zoneinfo
from array import array
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque, namedtuple
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from service.errors import (
    ModelRejectedError,
    SettingsError,
)
from service.model.formats.reading import read
from service.model.keys import keys_of
from service.model.validation.validation import validate
from tests.support.pickles import make_model, pickled, read_bytes

#: Stands for a model, of which every test makes its own.
MODEL = object()
SEEN = scipy.sparse.csr_matrix(np.array([[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 3, 0]], np.float32))
USERS = {0: "ann", 1: "bob", 2: "cid"}
ITEMS = {0: 10, 1: 11, 2: 12, 3: 13}
TO_USERS = {user: row for row, user in USERS.items()}
TO_ITEMS = {item: row for row, item in ITEMS.items()}

Meta = namedtuple("Meta", "when by")


class Recommender:
    """A class of a user's own."""

    def __init__(self) -> None:
        self.model = 1


class Shelf(dict[str, int]):
    """A dict of a user's own."""


class Row(list[int]):
    """A list of a user's own."""


def complaint_of(content: bytes, **keys: str) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(ModelRejectedError) as caught:
        validate(read(Path("model.pkl"), io.BytesIO(content), keys))
    return str(caught.value)


def without_address(value: object) -> str:
    """Return how a value is shown, the same in every process: so testers agree on the names of tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class TestOtherKeys:
    """Dicts whose keys have other names."""

    @pytest.mark.parametrize(
        ("content", "proposed"),
        [
            ({"model": MODEL, "user_mapping": USERS, "item_mapping": ITEMS, "user_items": SEEN},
             {"user_id_map": "user_mapping", "product_id_map": "item_mapping", "sparse_matrix": "user_items"}),
            ({"als_model": MODEL, "user_to_idx": TO_USERS, "item_to_idx": TO_ITEMS},
             {"model": "als_model", "reverse_user_id_map": "user_to_idx", "reverse_product_id_map": "item_to_idx"}),
            ({"model": MODEL, "user_map": USERS, "item_map": ITEMS, "mat": SEEN},
             {"user_id_map": "user_map", "product_id_map": "item_map", "sparse_matrix": "mat"}),
            ({"model": MODEL, "user_id_map": USERS, "item_id_map": ITEMS}, {"product_id_map": "item_id_map"}),
            ({"recommender": MODEL, "customers": list(USERS.values()), "movie_ids": np.array([10, 11, 12, 13]), "n": 5},
             {"model": "recommender", "user_id_map": "customers", "product_id_map": "movie_ids"}),
        ],
        ids=["mapping", "to_idx", "map", "item_id_map", "lists"],
    )  # fmt: skip
    def test_the_likely_ones_are_proposed(self, content: dict[str, Any], proposed: dict[str, str]) -> None:
        """What is there is listed, and the proposal, taken as it is, is right."""
        file = pickle.dumps({key: make_model() if value is MODEL else value for key, value in content.items()})
        pairs = [f"{ours}={theirs}" for ours, theirs in proposed.items()]
        sentence = complaint_of(file)
        assert sentence.startswith("Model file is missing required components: [")
        assert f"; the dict has {', '.join(map(repr, content))}: try" in sentence
        assert sentence.endswith(f"{' '.join(f'--key {pair}' for pair in pairs)} (of a server: ALS_PICKLE_KEYS="
                                 f"{','.join(pairs)})")  # fmt: skip
        found = validate(read(Path("model.pkl"), io.BytesIO(file), keys_of(",".join(pairs))))
        assert found.user_ids.tolist() == [b"ann", b"bob", b"cid"]
        assert found.item_ids.tolist() == [10, 11, 12, 13]
        assert (found.seen is not None) is ("sparse_matrix" in proposed)

    def test_where_nothing_fits(self) -> None:
        """The keys that are there are listed, and nothing is proposed."""
        sentence = complaint_of(pickle.dumps({"U": 1, "V": 2}))
        assert sentence == (
            "Model file is missing required components: ['model', 'user_id_map', 'product_id_map']; the dict has 'U', "
            "'V'"
        )

    def test_messages_have_the_users_words(self) -> None:
        """What is wrong with a component is said of the key in the file."""
        content = pickled(user_id_map=None, who={0: "ann", 1: "bob"})
        assert complaint_of(content, user_id_map="who").startswith("who has 2 ids for 3 rows")

    def test_a_key_that_is_not_there(self) -> None:
        """It is named, with those that are there."""
        assert complaint_of(pickled(), sparse_matrix="seen") == (
            "Model file is missing required components: ['seen'], which ALS_PICKLE_KEYS (or --key) names; the dict has "
            "'model', 'user_id_map', 'product_id_map'"
        )

    def test_a_usual_name_for_something_else(self) -> None:
        """What is named wins over what has the usual name."""
        content = pickled(user_id_map={"ann": 1}, users=USERS)
        assert read(Path("m"), io.BytesIO(content), {"user_id_map": "users"}).user_ids == USERS

    @pytest.mark.parametrize("given", ["user_ids=a", "user_id_map", "user_id_map=", "=a"])
    def test_a_bad_setting(self, given: str) -> None:
        """It says what it must be."""
        with pytest.raises(SettingsError, match="it must be KEY=YOURS, as in user_id_map=user_mapping"):
            keys_of(given)


class TestModelsAlone:
    """Models without a dict around them."""

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_bare_pickle(self, protocol: int) -> None:
        """It is what model.save writes: ids are row numbers, and nothing is seen."""
        model = make_model()
        found = validate(read_bytes(pickle.dumps(model, protocol)))
        np.testing.assert_array_equal(found.user_factors, model.user_factors)
        assert (found.user_ids.tolist(), found.item_ids.tolist(), found.seen) == ([0, 1, 2], [0, 1, 2, 3], None)
        assert (found.regularization, found.alpha) == (model.regularization, model.alpha)

    def test_of_the_gpu_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It pickles its factors as arrays of NumPy."""
        model = make_model()
        gpu = type("AlternatingLeastSquares", (), {"__module__": "implicit.gpu.als"})
        made = gpu()
        made.__dict__.update(user_factors=model.user_factors, item_factors=model.item_factors, alpha=2.0, _YtY=None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "implicit.gpu.als", module("implicit.gpu.als", AlternatingLeastSquares=gpu))
            content = pickled(model=made)
        np.testing.assert_array_equal(validate(read_bytes(content)).item_factors, model.item_factors)

    @pytest.mark.parametrize(
        ("array", "name"),
        [("verify_negative_samples", "BayesianPersonalizedRanking"), ("neg_prop", "LogisticMatrixFactorization")],
    )
    def test_other_models_of_implicit(self, array: str, name: str) -> None:
        """Their archives look alike, and are refused by name."""
        content = npz(user_factors=np.ones((2, 2), np.float32), item_factors=np.ones((3, 2), np.float32), **{array: 1})
        assert complaint_of(content) == (
            f"The npz archive is of implicit's {name} (it has {array}); only AlternatingLeastSquares is served."
        )


def module(name: str, **members: Any) -> types.ModuleType:
    """Return a module with these members."""
    made = types.ModuleType(name)
    made.__dict__.update(members)
    return made


def npz(**components: Any) -> bytes:
    """Return an archive."""
    file = io.BytesIO()
    np.savez(file, **components)
    return file.getvalue()


class TestOtherValues:
    """What is in a file beside a model."""

    @pytest.mark.parametrize(
        "value",
        [
            5, 2.5, "text", b"bytes", None, True, [1, [2]], (1, 2), {1, 2}, frozenset({"a"}), 1 + 2j, bytearray(b"x"),
            Counter("hello"), OrderedDict(a=1), defaultdict(list, a=[1]), defaultdict(int, a=1), defaultdict(dict),
            datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.date(2020, 1, 1), datetime.timedelta(1),
            datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), zoneinfo.ZoneInfo("UTC"),
            datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), Fraction(1, 2),
            datetime.time(1), {datetime.date(2020, 1, 1): 5, datetime.date(2020, 1, 2): 6}, decimal.Decimal("1.5"),
            uuid.UUID(int=5), {uuid.UUID(int=5)}, PurePosixPath("a/b"), Path("a"), range(5), slice(1, 2),
            types.SimpleNamespace(a=1, b=[2]), Meta("now", "me"), [Meta(1, 2)], {"a": Meta(1, Meta(2, 3))},
            int, float, str, dict, list, np.float32, np.int8, np.datetime64,
            np.float32(1.5), np.int64(5), np.bool_(1), np.datetime64("2020-01-01"), np.timedelta64(5, "s"),
            np.complex64(1), np.str_("a"), np.bytes_(b"a"),
            np.arange(3), np.array(["a"]), np.array([1 + 2j]), np.array(["2020-01-01"], "M8[D]"),
            np.array([1], "m8[s]"),
            np.array([1, "a", None], object), np.array([datetime.date(2020, 1, 1)], object), np.zeros((0, 3)),
            np.array(5.0), np.longdouble(1), np.array([True]),
        ],
        ids=without_address,
    )  # fmt: skip
    @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
    def test_they_are_passed_over(self, value: Any, protocol: int) -> None:
        """Whatever plain value it is, the model is read as without it."""
        if "Meta(" in repr(value):
            protocol = max(protocol, 2)  # older protocols write a namedtuple as an object of a class
        found = validate(read_bytes(pickled(protocol, extra=value, sparse_matrix=SEEN)))
        assert found.user_ids.tolist() == [b"ann", b"bob", b"cid"]

    def test_of_pandas(self) -> None:
        """So is a Timestamp of pandas."""
        # What pandas writes: _unpickle_timestamp(value, freq, tz, reso).
        call = b"cpandas._libs.tslibs.timestamps\n_unpickle_timestamp\n(K\x05NNK\x0atR"
        content = pickled(2, extra=7)
        assert content.count(b"K\x07") == 1
        content = content.replace(b"K\x07", call)
        validate(read_bytes(content))

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            *((value, "Recommender")
              for value in (Recommender(), [{"deep": Recommender()}], Recommender, Recommender.__init__)),
            (deque([1]), "collections.deque"), (ChainMap({1: 2}), "collections.ChainMap"), (array("i", [1]), "array."),
            (re.compile("a"), "re._compile"), (ValueError("no"), "ValueError"), (np.ma.array([1]), "numpy.ma.core."),
            (np.matrix([[1]]), "numpy.matrix"), (Shelf(a=1), "Shelf"), (Row([1, 2]), "Row"), (len, "builtins.len"),
        ],
        ids=without_address,
    )  # fmt: skip
    @pytest.mark.parametrize("protocol", [2, 5])
    def test_others_are_refused_with_their_key(self, value: Any, name: str, protocol: int) -> None:
        """The key is named of anything else, also of what is a list or a dict, or made by a function that is known."""
        sentence = complaint_of(pickled(protocol, beside=value))
        assert name.replace("builtins", "__builtin__" if protocol < 3 else "builtins") in sentence
        assert sentence.startswith("The pickle refers to ")
        assert sentence.endswith(" It is in 'beside'.")

    @pytest.mark.parametrize("where", ["model", "user_id_map"])
    def test_a_namedtuple_in_place_of_a_component(self, where: str) -> None:
        """It is not passed over."""
        assert complaint_of(pickled(**{where: Meta(1, 2)})).endswith(f" It is in {where!r}.")

    def test_a_thing_of_the_standard_library(self) -> None:
        """What could be called in a namedtuple's place is refused."""
        popen = b"csubprocess\nPopen\n(K\x01t\x81"
        content = pickled(2, zzz=7)
        assert content.count(b"K\x07") == 1
        sentence = complaint_of(content.replace(b"K\x07", popen))
        assert sentence.startswith("The pickle refers to subprocess.Popen, which is not allowed")
        assert sentence.endswith(" It is in 'zzz'.")

    def test_in_an_archive(self) -> None:
        """Other arrays are passed over, whatever is in them; a name that is nearly known is not."""
        factors = {"user_factors": np.ones((2, 2), np.float32), "item_factors": np.ones((3, 2), np.float32)}
        others = {
            "trained_at": np.array("2020"),
            "when": np.array(["2020-01-01"], "M8[D]"),
            "o": np.array([{}], object),
        }
        validate(read_bytes(npz(**factors, **others)))
        for name in ("user_id", "itemids", "seen_index"):
            assert f"The npz archive has {name}, which a model does not need" in complaint_of(
                npz(**factors, **{name: 1})
            )


class TestIds:
    """Ids of types that are not whole numbers or text."""

    @pytest.mark.parametrize(
        ("ids", "complaint"),
        [
            ([1, 2.5, 3], "a float in row 1; save whole numbers as int, and leave out missing ones."),
            ([1, float("nan"), 3], "a float in row 1; save whole numbers as int, and leave out missing ones."),
            (["a", None, "c"], "None in row 1; leave out what has no id."),
            ([True, False, True], "a bool in row 0; an id is a whole number or text."),
            ([b"a", b"b", b"c"], "a bytes in row 0; save text, id.decode()."),
            ([(1, 2), (3, 4), (5, 6)], "a tuple in row 0; save one number or text."),
            ([uuid.UUID(int=number) for number in range(3)], "a UUID in row 0; save ids as text, str(u)."),
            ([datetime.date(2020, 1, day) for day in (1, 2, 3)], "a date in row 0; an id is a whole number or text."),
            (np.array([1.0, 2.0, 3.0]), "a float in row 0; save whole numbers as int, and leave out missing ones."),
        ],
        ids=str,
    )
    def test_the_row_is_named(self, ids: Any, complaint: str) -> None:
        """With what to save instead."""
        for given in (ids, dict(enumerate(ids))):
            assert complaint_of(pickled(user_id_map=given)) == f"user_id_map has {complaint}"

    def test_text_of_variable_width(self) -> None:
        """NumPy pickles it by its own functions, which are not called; the remedy is named."""
        ids = np.array(["a", "b", "c"], np.dtypes.StringDType())
        assert complaint_of(pickled(user_id_map=ids)).endswith(
            "nothing was executed; save text as np.array(ids, dtype=str)."
        )

    def test_numbers_and_text(self) -> None:
        """The first that is not like the others before it is named."""
        assert complaint_of(pickled(user_id_map=[1, 2, "c"])) == (
            "user_id_map has ids of type int and str, first in row 2; all must be int, or all str: save text, str(id)."
        )

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (np.array(["ann", "bob"], object), [b"ann", b"bob"]),
            (np.array([7, 8], object), [7, 8]),
        ],
        ids=["text", "numbers"],
    )
    def test_objects_in_an_archive(self, ids: Any, expected: list[Any]) -> None:
        """What NumPy makes of an Index of pandas is read, with the inert stand-ins of a pickle."""
        factors = {"user_factors": np.ones((2, 2), np.float32), "item_factors": np.ones((2, 2), np.float32)}
        assert validate(read_bytes(npz(**factors, user_ids=ids))).user_ids.tolist() == expected

    def test_hostile_objects_in_an_archive(self, tmp_path: Path) -> None:
        """Nothing in them is executed, and what is not an array of ids is refused."""
        factors = {"user_factors": np.ones((2, 2), np.float32), "item_factors": np.ones((2, 2), np.float32)}
        hostile = np.array([Recommender(), 1], object)
        sentence = complaint_of(npz(**factors, user_ids=hostile))
        assert "which is not allowed, and nothing was executed" in sentence
        assert complaint_of(npz(**factors, user_ids=np.array([1.5, 2], object))).startswith(
            "user_ids has a float in row 0"
        )
        assert complaint_of(npz(**factors, user_ids=np.array([[1], [2]], object))).startswith("user_ids ")
        assert "is an array of Python objects" in complaint_of(npz(**factors, item_weights=np.array([1, 2], object)))

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ([1, 2], "user_ids is not the array that its header declares; save the model again."),
            (
                np.array([1, 2, 3], object),
                "user_ids does not have the shape (2,) that its header declares; save the model again.",
            ),
        ],
        ids=["another object", "another shape"],
    )
    def test_objects_that_are_not_what_their_header_says(self, content: object, complaint: str) -> None:
        """The header and the pickle in a member are compared."""
        packed = io.BytesIO(npz(user_factors=np.ones((2, 2)), item_factors=np.ones((2, 2))))
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": (2,)})
        with zipfile.ZipFile(packed, "a") as archive:
            archive.writestr("user_ids.npy", member.getvalue() + pickle.dumps(content))
        assert complaint_of(packed.getvalue()) == complaint

    @pytest.mark.parametrize("start", [0, 5])
    def test_an_index_of_pandas(self, start: int) -> None:
        """An Index is its array, and a RangeIndex its numbers."""

        def _new_index(cls: type, parts: dict[str, Any]) -> None: ...

        base = module("pandas.core.indexes.base", _new_Index=_new_index)
        _new_index.__module__, _new_index.__qualname__, _new_index.__name__ = base.__name__, "_new_Index", "_new_Index"

        class Index:
            def __init__(self, **parts: Any) -> None:
                self.parts = parts

            def __reduce__(self) -> Any:
                return _new_index, (type(self), self.parts)

        class RangeIndex(Index): ...

        ranges = module("pandas.core.indexes.range", RangeIndex=RangeIndex)
        for made, where in ((Index, base), (RangeIndex, ranges)):
            made.__module__, made.__qualname__ = where.__name__, made.__name__
        base.__dict__["Index"] = Index
        with pytest.MonkeyPatch.context() as patch:
            for parent in ("pandas", "pandas.core", "pandas.core.indexes"):
                patch.setitem(sys.modules, parent, module(parent))
            patch.setitem(sys.modules, base.__name__, base)
            patch.setitem(sys.modules, ranges.__name__, ranges)
            content = pickled(
                user_id_map=Index(data=np.array(["x", "y", "z"], object), name=None),
                product_id_map=RangeIndex(name=None, start=start, stop=start + 8, step=2),
            )
        found = validate(read_bytes(content))
        assert found.user_ids.tolist() == [b"x", b"y", b"z"]
        assert found.item_ids.tolist() == [start, start + 2, start + 4, start + 6]


class TestWords:
    """Messages in words that people know."""

    def test_a_dense_matrix(self) -> None:
        """It is called what it is."""
        assert complaint_of(pickled(sparse_matrix=np.ones((3, 4)))) == (
            "sparse_matrix is a dense NumPy array; save a csr, csc or coo matrix of scipy."
        )

    def test_a_parameter_as_an_array(self) -> None:
        """An array without dimensions, as np.load gives, is its value."""
        model = make_model()
        model.alpha = np.array(2.5)
        assert validate(read_bytes(pickled(model=model))).alpha == 2.5
        model.alpha = np.array([2.5])
        assert complaint_of(pickled(model=model)) == "alpha is a ndarray, not a number."
