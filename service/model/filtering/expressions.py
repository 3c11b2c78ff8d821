"""Expressions: what a filter says of an item's attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: The most characters of a filter.
MAX_CHARACTERS = 2500
#: The most comparisons of a filter; they bound how deep an expression nests, too.
MAX_TERMS = 50

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = bool | float | str


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute, compared with values.

    With ``=`` it is one of them, with ``!=`` none of them; other operators have one value. at: the place of the
    attribute in the text of the filter, from 1.
    """

    attribute: str
    operator: Operator
    values: tuple[Value, ...]
    at: int
    terms: int = 1


@dataclass(frozen=True, slots=True)
class Not:
    """True of the items of which an expression is not."""

    operand: Expression
    terms: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", self.operand.terms)


@dataclass(frozen=True, slots=True)
class Several:
    """True of the items of which all operands are, or any of them."""

    operands: tuple[Expression, ...]
    needs_all: bool
    terms: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", sum(operand.terms for operand in self.operands))


#: Its ``terms`` are the number of its comparisons.
Expression: TypeAlias = Comparison | Not | Several
