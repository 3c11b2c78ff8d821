"""The language of filters: text, parsed to an expression.

Loaded when the first filter is parsed, because that takes a tenth of the time that a server needs to start.
"""

from __future__ import annotations

from typing import NoReturn, cast

from lark import Lark, Token
from lark.exceptions import UnexpectedInput, UnexpectedToken

from service.errors import BadFilterError
from service.model.filtering.expressions import (
    MAX_CHARACTERS,
    MAX_TERMS,
    Comparison,
    Expression,
    Not,
    Operator,
    Several,
    Value,
)

_GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: inverse (_AND inverse)*
?inverse: _NOT inverse -> inverted | "(" either ")" | _comparison
_comparison: compared | alone | any_of | none_of
compared: name OPERATOR value
alone: name
any_of: name _IN _values
none_of: name _NOT _IN _values
_values: "(" value ("," value)* ")"
?name: NAME | QUOTED
?value: NUMBER | TEXT | TRUE | FALSE

_OR.2: /or(?![\w.-])/i
_AND.2: /and(?![\w.-])/i
_NOT.2: /not(?![\w.-])/i
_IN.2: /in(?![\w.-])/i
TRUE.2: /true(?![\w.-])/i
FALSE.2: /false(?![\w.-])/i
OPERATOR: "=" | "!=" | "<=" | "<" | ">=" | ">"
NUMBER: /-?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?/i
TEXT: /'([^']|'')*'/
NAME: /[^\W\d][\w.-]*/
QUOTED: /"([^"]|"")*"/
%ignore /\s+/
"""
#: What a message says may come next, by terminal.
_NAMES = {
    "NAME": "an attribute",
    "TEXT": "a value (text in single quotes, a number, true or false)",
    "OPERATOR": "a comparison such as = or <",
    "_IN": "IN",
    "LPAR": "'('",
    "COMMA": "','",
    "_AND": "AND",
    "_OR": "OR",
    "RPAR": "')'",
    "$END": "the end",
}
#: What to write instead of what other languages have.
_INSTEAD = {"&": "AND", "|": "OR", "!": "NOT", "[": "( )", "]": "( )", "==": "=", "<>": "!="}
_LONGEST_SHOWN = 40


def parse(text: str) -> Expression:
    """Parse a filter, in a time that grows with its length alone. Raises BadFilterError."""
    if len(text) > MAX_CHARACTERS:
        raise BadFilterError(f"The filter has {len(text)} characters; at most {MAX_CHARACTERS} are allowed.")
    try:
        return cast("Expression", _PARSER.parse(text))  # because the builder is called for every rule
    except UnexpectedInput as error:
        _refuse(text, error)


def _refuse(text: str, error: UnexpectedInput) -> NoReturn:
    """Say where a filter goes wrong. Raises BadFilterError."""
    at = error.pos_in_stream or 0
    if not isinstance(error, UnexpectedToken):
        if text[at] in "'\"":
            raise BadFilterError(f"The quote at character {at + 1} of the filter is never closed; close it.")
        hint = f"; use {_INSTEAD[text[at]]}" if text[at] in _INSTEAD else ""
        raise BadFilterError(f"The filter has {text[at]!r} at character {at + 1}, which has no meaning there{hint}.")
    if at and (operator := text[at - 1 : at + 1]) in _INSTEAD:
        raise BadFilterError(f"The filter has {operator!r} at character {at}; use {_INSTEAD[operator]}.")
    token, expected = error.token, error.accepts or error.expected
    names = " or ".join(name for terminal, name in _NAMES.items() if terminal in expected)
    if token.type == "$END":
        raise BadFilterError(f"The filter ends too early; it needs {names}.")
    shown = str(token[:_LONGEST_SHOWN])
    raise BadFilterError(f"The filter has {shown!r} at character {at + 1} where it needs {names}.")


class _Builder:
    """Makes expressions; the methods have the names of the grammar's rules."""

    def either(self, operands: list[Expression]) -> Expression:
        return _several(operands, needs_all=False)

    def both(self, operands: list[Expression]) -> Expression:
        return _several(operands, needs_all=True)

    def inverted(self, operands: list[Expression]) -> Expression:
        """Invert, so that NOT never nests in NOT."""
        (operand,) = operands
        return operand.operand if isinstance(operand, Not) else Not(operand)

    def compared(self, parts: list[Token]) -> Expression:
        name, operator, value = parts
        return _comparison(name, cast("Operator", str(operator)), [value])

    def alone(self, parts: list[Token]) -> Expression:
        return Comparison(_name_of(parts[0]), "=", (True,), _place_of(parts[0]))

    def any_of(self, parts: list[Token]) -> Expression:
        return _comparison(parts[0], "=", parts[1:])

    def none_of(self, parts: list[Token]) -> Expression:
        return _comparison(parts[0], "!=", parts[1:])


def _several(operands: list[Expression], *, needs_all: bool) -> Expression:
    made = Several(tuple(operands), needs_all)
    if made.terms > MAX_TERMS:
        raise BadFilterError(f"The filter has more than {MAX_TERMS} comparisons; use IN for several values.")
    return made


def _comparison(name: Token, operator: Operator, values: list[Token]) -> Comparison:
    return Comparison(_name_of(name), operator, tuple(map(_value_of, values)), _place_of(name))


def _name_of(token: Token) -> str:
    return str(token[1:-1].replace('""', '"') if token.type == "QUOTED" else token)


def _place_of(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _value_of(token: Token) -> Value:
    if token.type == "NUMBER":
        return float(token)
    if token.type == "TEXT":
        return str(token[1:-1].replace("''", "'"))
    return token.type == "TRUE"


#: LALR(1): linear, without recursion, and refused by lark itself if the grammar were ambiguous.
_PARSER = Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_Builder())
