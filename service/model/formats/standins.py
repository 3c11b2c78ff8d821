"""Inert stand-ins for the classes and functions that an untrusted pickle names.

They only collect what the pickle contains. No stand-in has a ``__dict__``, none can be changed, none can be a key, and
only the functions can be called.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from service.errors import BadDtypeError, CorruptFileError, UnsafePickleError
from service.model.formats import arrays
from service.model.raw import kind

#: Types of arrays that no component has: complex numbers, times and durations.
_UNREAD = re.compile(r"c(8|16|32)|f(12|16)|[Mm]8")
_DTYPE_FLAGS = {"O": 63, "U": 8}


class Sealed(type):
    """The metaclass of the stand-ins, which refuses changes to them."""

    def __setattr__(cls, name: str, value: object) -> None:
        cls._refuse()

    @property
    def __setstate__(cls) -> NoReturn:  # noqa: PLE0302 - a property, not a method
        # BUILD looks this up on its target; a property of the metaclass only applies to the class itself.
        cls._refuse()

    def _refuse(cls) -> NoReturn:
        raise UnsafePickleError(
            f"The pickle changes the class {cls.__name__}, which no model does; nothing was executed."
        )


class StandIn(metaclass=Sealed):
    """Anything inert."""

    __slots__ = ()
    __hash__: ClassVar[None]  # type: ignore[assignment]  # unhashable: never a key, never in a set
    __hash__ = None

    def __setattr__(self, name: str, value: object) -> None:
        raise self._refusal()

    def __setstate__(self, state: object) -> None:
        raise self._refusal()

    def _refusal(self) -> UnsafePickleError:
        return UnsafePickleError(f"The pickle changes {self._name()}, which no model does; nothing was executed.")

    def _name(self) -> str:
        return f"an object of the class {type(self).__name__}"

    def _keep(self, slot: str, value: object) -> None:
        object.__setattr__(self, slot, value)


class Named(StandIn):
    """A class or type that is only mentioned, as an argument or an attribute."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str) -> None:
        self._keep("name", name)

    def _name(self) -> str:
        return self.name


class Function(Named):
    """A function or type that a pickle calls; ``call`` gets the arguments and must not trust them."""

    __slots__ = ("call",)
    call: Callable[[tuple[object, ...]], object]

    def __init__(self, name: str, call: Callable[[tuple[object, ...]], object]) -> None:
        super().__init__(name)
        self._keep("call", call)

    def __call__(self, *arguments: object) -> object:
        """Call the stand-in. Raises CorruptFileError for arguments that no library pickles."""
        try:
            return self.call(arguments)
        except UnexpectedError:
            raise CorruptFileError(
                f"The pickle calls {self.name} with arguments that no library writes; save the model again."
            ) from None


class UnexpectedError(Exception):
    """The arguments are not what NumPy, scipy or Python pickle."""


class Opaque(StandIn):
    """Ignored content of a model: the state of a random generator."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class Passed(StandIn):
    """A value that is passed over, of a harmless type: only its type is known.

    It can be a key, but equals only itself, so that an ignored dict of dates is read.
    """

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]  # as above: by identity

    def __new__(cls, *_arguments: object) -> Passed:
        """Return a value, whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def passed(name: str) -> Sealed:
    """Return the stand-in of one such type."""
    return Sealed(name, (Passed,), {"__slots__": ()})


class Instance(StandIn):
    """An object of a known class, which only collects its attributes."""

    __slots__ = ("attributes",)
    attributes: dict[object, object]

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict or hasattr(self, "attributes"):
            raise self._refusal()
        self._keep("attributes", state)

    def get(self, name: str) -> object | None:
        """Return an attribute, None if the pickle has none."""
        return self.attributes.get(name) if hasattr(self, "attributes") else None


class AlternatingLeastSquares(Instance):
    """implicit's model."""

    __slots__ = ()


class SparseMatrix(Instance):
    """A scipy matrix or array; ``layout`` is "csr", "csc" or "coo"."""

    __slots__ = ()
    layout: ClassVar[str]


class CsrMatrix(SparseMatrix):
    """Compressed rows."""

    __slots__ = ()
    layout = "csr"


class CscMatrix(SparseMatrix):
    """Compressed columns."""

    __slots__ = ()
    layout = "csc"


class CooMatrix(SparseMatrix):
    """Coordinates."""

    __slots__ = ()
    layout = "coo"


class Dtype(StandIn):
    """A dtype by its name; in the machine's byte order unless BUILD changes it."""

    __slots__ = ("dtype", "holds_objects", "unread")
    dtype: np.dtype[Any]
    holds_objects: bool
    unread: str

    def __init__(self, name: str) -> None:
        self._keep("holds_objects", name in {"O8", "O4", "O"})
        self._keep("unread", name if _UNREAD.fullmatch(name) else "")
        known = not self.holds_objects and not self.unread
        self._keep("dtype", arrays.plain_dtype("The pickle", name) if known else np.dtype("u1"))

    def __setstate__(self, state: object) -> None:
        if self.unread:  # whatever it is, nothing is made of it
            return
        usual_flags = _DTYPE_FLAGS.get("O" if self.holds_objects else self.dtype.kind, 0)
        sizes = (-1, self.dtype.itemsize)
        match state:
            case (3, "<" | ">" | "|" as order, None, None, None, size, int(), flags) if (
                size in sizes and flags == usual_flags
            ):
                self._keep("dtype", self.dtype.newbyteorder(order))
            case _:
                raise UnsafePickleError(
                    "The pickle gives a dtype fields, a subarray, metadata or another unsupported state; "
                    "save plain arrays."
                )


class Array(StandIn):
    """An ndarray in parts, assembled only after the whole pickle is read and can no longer change anything."""

    __slots__ = ("_data", "_dtype", "_fortran", "_shape")
    described: ClassVar[str] = "dense NumPy array"
    _data: object
    _dtype: Dtype
    _fortran: bool
    _shape: tuple[int, ...]

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, tuple(shape), Dtype() as dtype, 0 | 1 as fortran, data) if not hasattr(self, "_data"):
                self.fill(shape, dtype, data, fortran=bool(fortran))
            case _:
                raise self._refusal()

    def fill(self, shape: tuple[int, ...], dtype: Dtype, data: object, *, fortran: bool) -> None:
        """Store the parts, which are checked when the array is needed."""
        for slot, part in (("_shape", shape), ("_dtype", dtype), ("_data", data), ("_fortran", fortran)):
            self._keep(slot, part)

    def numbers(self, component: str) -> NDArray[Any]:
        """Return the array. Raises CorruptFileError, and BadDtypeError if its elements are Python objects."""
        if not hasattr(self, "_data"):
            raise CorruptFileError(f"{component} is an array without contents; save the model again.")
        if self._dtype.unread:
            arrays.plain_dtype(component, self._dtype.unread)
        if self._dtype.holds_objects:
            raise BadDtypeError(f"{component} is an array of Python objects; convert it to an array of numbers.")
        if not isinstance(self._data, bytes | bytearray):
            raise CorruptFileError(f"{component} is an array without bytes; save the model again.")
        return arrays.build(component, self._dtype.dtype, self._shape, self._data, fortran=self._fortran)

    def single(self, component: str) -> object:
        """Return the value of an array without dimensions, else the array. Raises like :meth:`numbers`."""
        array = self.numbers(component)
        return array.item() if array.shape == () else array

    def ids(self, component: str) -> NDArray[Any] | list[object]:
        """Return the array, with bytes as text and objects as a list. Raises like :meth:`numbers`, and BadIdsError."""
        if hasattr(self, "_data") and self._dtype.holds_objects:
            return self._objects(component)
        return arrays.ids(component, self.numbers(component))

    def _objects(self, component: str) -> list[object]:
        if type(self._data) is not list or self._shape != (len(self._data),):
            raise CorruptFileError(f"{component} has a shape that does not match its data; save the model again.")
        for row, value in enumerate(self._data):
            if type(value) not in {int, str}:
                raise BadDtypeError(f"{component} has {kind(value)} in row {row}; an id is a whole number or text.")
        return self._data
