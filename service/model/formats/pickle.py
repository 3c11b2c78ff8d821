"""The reader of untrusted pickles: a dict of an implicit model, id maps and a scipy matrix."""

from __future__ import annotations

import copyreg
import os
import pickle
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from numpy.typing import NDArray

from service.errors import (
    BadIdsError,
    BadSeenMatrixError,
    CorruptFileError,
    ModelRejectedError,
    UnknownFormatError,
    UnsafePickleError,
)
from service.model.formats.components import hint, named
from service.model.formats.globals import UnknownGlobalError, find
from service.model.formats.records import foreign_type, forgiving, without_records
from service.model.formats.standins import AlternatingLeastSquares, Array, Sealed, SparseMatrix, StandIn
from service.model.raw import RawIds, RawModel, RawSeen, kind

_NAMES = {
    "user_factors": "model.user_factors",
    "item_factors": "model.item_factors",
    "user_ids": "user_id_map",
    "item_ids": "product_id_map",
    "reverse_user_ids": "reverse_user_id_map",
    "reverse_item_ids": "reverse_product_id_map",
    "seen": "sparse_matrix",
    "regularization": "model.regularization",
    "alpha": "model.alpha",
}
_AS_THEY_ARE: Mapping[str, str] = {}
_WANTED = "a dict with the keys 'model', 'user_id_map' and 'product_id_map'"


def read(file: IO[bytes], keys: Mapping[str, str] = _AS_THEY_ARE) -> RawModel:
    """Read a pickle of any protocol from its first byte to its last; ``keys`` are those in the file, by ours.

    Raises UnsafePickleError, CorruptFileError, UnknownFormatError, MissingComponentsError, BadDtypeError, BadIdsError
    and BadSeenMatrixError; MemoryError at the machine's or a set limit.
    """
    content = load(file)
    _expect_end(file)
    if isinstance(content, AlternatingLeastSquares):
        return _bare(content)
    return _model(named(_components(content), keys), {**_NAMES, **_renamed(keys)})


class _Unpickler(pickle.Unpickler):
    """Finds a stand-in for every class and function, or refuses."""

    def find_class(self, module: str, name: str) -> StandIn | Sealed:
        return find(module, name)

    def persistent_load(self, pid: object) -> NoReturn:
        raise UnsafePickleError(
            "The pickle refers to an object outside the file (a persistent id), and nothing was executed; save the "
            "model with pickle.dump."
        )


class _Lenient(_Unpickler):
    """Finds an inert stand-in for everything, for a second look at a pickle that is refused otherwise."""

    def find_class(self, module: str, name: str) -> StandIn | Sealed:
        try:
            return forgiving(find(module, name))
        except UnknownGlobalError:
            return foreign_type(module, name)


def load(file: IO[bytes]) -> object:
    """Return what is pickled, made of plain values and inert stand-ins. Raises as :func:`read`."""
    # An extension code could bypass find_class through this process's extension cache.
    copyreg.clear_extension_cache()
    try:
        return _Unpickler(file).load()
    except UnknownGlobalError as error:
        return without_records(lambda: _Lenient(file).load(), file, error)
    except (ModelRejectedError, MemoryError, OSError):
        raise
    except Exception as error:  # a crafted pickle can make the unpickler raise anything
        raise _explained(error, file) from error


def _explained(error: Exception, file: IO[bytes]) -> ModelRejectedError:
    if isinstance(error, EOFError) or "truncated" in str(error):
        size = file.seek(0, os.SEEK_END)
        return CorruptFileError(f"The pickle is cut short: the file ends after {size} bytes; copy it again, whole.")
    if str(error).startswith("unregistered extension code"):
        return UnsafePickleError(
            "The pickle uses an extension code (EXT), and nothing was executed; save the model with pickle.dump."
        )
    return CorruptFileError("The pickle is damaged: pickle.dump never writes a file like this; save the model again.")


def _expect_end(file: IO[bytes]) -> None:
    end = file.tell()
    rest = file.seek(0, os.SEEK_END) - end
    if rest:
        raise CorruptFileError(
            f"The pickle ends at byte {end}, but {rest} more follow; the file must hold one pickled dict and "
            "nothing else."
        )


def _bare(model: AlternatingLeastSquares) -> RawModel:
    """Return a model alone, as what ``model.save`` writes is: row numbers are the ids, and nothing is seen."""
    raw = RawModel(names=dict(_NAMES))
    _take_factors(raw, model)
    return raw


def _renamed(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the names of components in the words of the file."""
    return {component: keys[name] for component, name in _NAMES.items() if name in keys}


def _components(content: object) -> dict[object, object]:
    if type(content) is not dict:
        raise UnknownFormatError(f"The pickle is {kind(content)}; save {_WANTED}.")
    return content


def _model(components: dict[object, object], names: dict[str, str]) -> RawModel:
    model = components.get("model")
    if model is not None and not isinstance(model, AlternatingLeastSquares):
        raise UnknownFormatError(f"model is {kind(model)}; save implicit's AlternatingLeastSquares itself.")
    raw = RawModel(
        user_ids=_ids(components, "user_id_map"),
        item_ids=_ids(components, "product_id_map"),
        reverse_user_ids=_reverse_ids(components, "reverse_user_id_map"),
        reverse_item_ids=_reverse_ids(components, "reverse_product_id_map"),
        seen=_seen(components.get("sparse_matrix")),
        item_weights=_numbers("item_weights", components.get("item_weights")),
        activity_discount=_single("activity_discount", components.get("activity_discount")),
        training_facts=_single("training_facts", components.get("training_facts")),
        missing=_missing(components),
        names=names,
    )
    if raw.missing:
        raw.hint = hint(components, raw.missing)
    if model is not None:
        _take_factors(raw, model)
    return raw


def _missing(components: dict[object, object]) -> tuple[str, ...]:
    either = {
        "model": ("model",),
        "user_id_map": ("user_id_map", "reverse_user_id_map"),
        "product_id_map": ("product_id_map", "reverse_product_id_map"),
    }
    return tuple(name for name, keys in either.items() if all(components.get(key) is None for key in keys))


def _take_factors(raw: RawModel, model: AlternatingLeastSquares) -> None:
    raw.user_factors = _numbers("model.user_factors", model.get("user_factors"))
    raw.item_factors = _numbers("model.item_factors", model.get("item_factors"))
    raw.regularization = _single("model.regularization", model.get("regularization"))
    raw.alpha = _single("model.alpha", model.get("alpha"))


def _numbers(component: str, value: object) -> object:
    return value.numbers(component) if isinstance(value, Array) else value


def _single(component: str, value: object) -> object:
    return value.single(component) if isinstance(value, Array) else value


def _ids(components: dict[object, object], component: str) -> RawIds | None:
    match components.get(component):
        case None:
            return None
        case dict() | list() | tuple() | range() as ids:
            return ids
        case Array() as array:
            return array.ids(component)
        case other:
            raise BadIdsError(f"{component} is {kind(other)}; it must be a dict row number -> id, or a list of ids.")


def _reverse_ids(components: dict[object, object], component: str) -> Mapping[object, object] | None:
    ids = components.get(component)
    if ids is None or isinstance(ids, dict):
        return ids
    raise BadIdsError(f"{component} is {kind(ids)}; it must be a dict id -> row number.")


def _seen(matrix: object) -> RawSeen | None:
    if matrix is None:
        return None
    if not isinstance(matrix, SparseMatrix):
        raise BadSeenMatrixError(f"sparse_matrix is {kind(matrix)}; save a csr, csc or coo matrix of scipy.")
    seen = RawSeen(matrix.layout, _shape(matrix), _part(matrix, "data"))
    if matrix.layout == "coo":
        seen.row, seen.col = _coordinates(matrix)
    else:
        seen.indptr, seen.indices = _part(matrix, "indptr"), _part(matrix, "indices")
    return seen


def _shape(matrix: SparseMatrix) -> tuple[int, ...]:
    shape = matrix.get("_shape") or matrix.get("shape")
    if type(shape) is tuple and all(type(size) is int for size in shape):
        return shape
    raise BadSeenMatrixError("sparse_matrix has no shape; save a csr, csc or coo matrix of scipy.")


def _coordinates(matrix: SparseMatrix) -> tuple[NDArray[Any], NDArray[Any]]:
    # scipy stores them as `row` and `col` up to 1.12, as `coords` since.
    match matrix.get("coords"):
        case None:
            return _part(matrix, "row"), _part(matrix, "col")
        case (Array() as row, Array() as col):
            return row.numbers("sparse_matrix.row"), col.numbers("sparse_matrix.col")
    raise BadSeenMatrixError("sparse_matrix does not have two coordinates; save a users x items matrix.")


def _part(matrix: SparseMatrix, name: str) -> NDArray[Any]:
    part = matrix.get(name)
    if isinstance(part, Array):
        return part.numbers(f"sparse_matrix.{name}")
    raise BadSeenMatrixError(f"sparse_matrix has no array {name}; save a csr, csc or coo matrix of scipy.")
