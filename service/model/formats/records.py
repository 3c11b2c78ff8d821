"""A second look at a pickle that names something unknown: what is passed over, and the key of what is not.

A namedtuple of a user's own is only a name and plain values, so it is passed over beside a model. Nothing in a second
look is executed either: every unknown name has an inert stand-in, and everything but a namedtuple is refused as before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import IO, cast

from service.errors import ModelRejectedError, UnsafePickleError
from service.model.formats.standins import Array, Function, Instance, Sealed, StandIn
from service.model.keys import KEYS
from service.untrusted import quote


class _ForeignType(Sealed):
    """The metaclass of stand-ins for unknown types; the unpickler makes a namedtuple without calling its type."""

    def __call__(self, *_arguments: object) -> _Foreign:
        made = _Foreign.__new__(cast("type[_Foreign]", self))
        made._keep("is_record", False)
        return made


class _Foreign(StandIn, metaclass=_ForeignType):
    """A value of an unknown type."""

    __slots__ = ("is_record",)
    __hash__ = object.__hash__  # type: ignore[assignment]  # by identity, so that it can be a key
    is_record: bool

    def __new__(cls, *_arguments: object) -> _Foreign:
        """Return a value that looks like a namedtuple so far."""
        made = super().__new__(cls)
        made._keep("is_record", cls.__module__.partition(".")[0] not in sys.stdlib_module_names)
        return made

    def __setstate__(self, state: object) -> None:
        self._keep("is_record", False)

    def extend(self, _values: object) -> None:
        """Pass over what is in a list of this type, or a dict."""
        self._keep("is_record", False)

    append = add = extend

    def __setitem__(self, _key: object, _value: object) -> None:
        self._keep("is_record", False)


class _Forgiving(Function):
    """A known function, which makes an unknown value of arguments that it does not know."""

    __slots__ = ()

    def __call__(self, *arguments: object) -> object:
        try:
            return super().__call__(*arguments)
        except ModelRejectedError:
            return foreign_type("builtins", "object")()


def forgiving(known: StandIn | Sealed) -> StandIn | Sealed:
    """Return what stands for a known name in a second look."""
    return _Forgiving(known.name, known.call) if isinstance(known, Function) else known


def foreign_type(module: str, name: str) -> Sealed:
    """Return an inert stand-in for an unknown name."""
    return _ForeignType(name, (_Foreign,), {"__slots__": (), "__module__": module})


def without_records(look_again: Callable[[], object], file: IO[bytes], refusal: UnsafePickleError) -> object:
    """Return the content of a refused pickle without namedtuples of a user's own.

    Raises UnsafePickleError with the refusal's sentence, and the key of what is refused if it is known.
    """
    file.seek(0)
    try:
        content = look_again()
    except Exception:  # whatever it is, the first look has already said what is wrong
        raise UnsafePickleError(refusal.marked) from None
    if type(content) is not dict:
        raise UnsafePickleError(refusal.marked) from None
    foreign = {key: list(_foreign_in(value)) for key, value in content.items()}
    for key, found in foreign.items():
        if found and (key in KEYS or not all(isinstance(value, _Foreign) and value.is_record for value in found)):
            raise UnsafePickleError(f"{refusal.marked} It is in {quote(repr(key))}.") from None
    return {key: value for key, value in content.items() if not foreign[key]}


def _foreign_in(value: object) -> Iterator[object]:
    """Yield what is unknown in a value, however deep."""
    waiting, met = [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Foreign | _ForeignType):
            yield value
        elif id(value) not in met:
            met.add(id(value))
            waiting += _parts(value)


def _parts(value: object) -> list[object]:
    match value:
        case dict():
            return [*value.keys(), *value.values()]
        case list() | tuple() | set() | frozenset():
            return list(value)
        case Instance():
            return [getattr(value, "attributes", None)]
        case Array():
            return [getattr(value, "_data", None)]
    return []
