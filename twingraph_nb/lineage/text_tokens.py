"""The text of a Gremlin query as tokens: names, numbers, strings and punctuation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, cast

from gremlin_python.statics import BigDecimal, SingleByte, bigdecimal, bigint, long, short

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.text_names import Float32

__all__ = ["LONGEST", "QuerySyntaxError", "Token", "moment", "refuse", "tokens"]

LONGEST = 200_000
"""Most characters of a query; a bound for the parser's time and memory."""

_SHOWN = 100
"""Most characters of a line that an error shows."""

_SCAN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|\\\r?\n|//[^\r\n]*|\#[^\r\n]*|/\*.*?\*/)
  | (?P<number>[+-]?(?:
        0[xX][0-9a-fA-F](?:[0-9a-fA-F_]*[0-9a-fA-F])?[sSnNiIlL]?
      | [0-9](?:[0-9_]*[0-9])?(?:\.[0-9](?:[0-9_]*[0-9])?)?(?:[eE][+-]?[0-9]+)?[bBsSnNiIlLfFdDmM]?
    )(?![\w$]))
  | (?P<infinity>[+-]Infinity\b)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<name>[^\W\d][\w$]*|\$[\w$]*)
  | (?P<mark>->|\.\.|[()\[\]{},.:;=])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"""\\(?:u+([0-9a-fA-F]{4})|([0-3][0-7]{2}|[0-7]{1,2})|(\r?\n)|([btnfr"'\\])|(.))""", re.DOTALL
)
_SHORT_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}

_WHOLE = {"b": (8, SingleByte), "s": (16, short), "i": (32, int), "l": (64, long)}
"""Suffix of a whole number: its bits, and the class that carries it over the wire."""


class QuerySyntaxError(LineageError):
    """The text is not a Gremlin query; says where.

    line, column: of the place, from 1. text: that line of the query.
    """

    def __init__(self, message: str, text: str, line: int, column: int) -> None:
        self.message, self.text, self.line, self.column = message, text, line, column
        start = max(0, column - 1 - _SHOWN // 2)
        shown = text[start : start + _SHOWN].replace("\t", " ")
        caret = " " * (column - 1 - start) + "^"
        super().__init__(f"line {line}, column {column}: {message}\n    {shown}\n    {caret}")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query.

    kind: "name", "number", "string", "mark" or "end". text: as written. at: its place in the
    text. value: what a number or string stands for.
    """

    kind: str
    text: str
    at: int
    value: object = None

    @property
    def shown(self) -> str:
        """The piece as a message names it."""
        return self.text if self.kind == "end" else repr(self.text)


def refuse(message: str, source: str, at: int) -> NoReturn:
    """Raise the error that shows this place of the source."""
    line = source.count("\n", 0, at) + 1
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    raise QuerySyntaxError(message, source[start : end if end >= 0 else None], line, at - start + 1)


def tokens(source: str) -> list[Token]:
    """Give the tokens of a query; the last is of kind "end".

    Raises:
        QuerySyntaxError: it is too long, or something in it is no token of Gremlin.
    """
    if len(source) > LONGEST:
        refuse(f"the query has {len(source)} characters; the limit is {LONGEST}", source, 0)
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _SCAN.match(source, at)
        if match is None:
            _unreadable(source, at)
        kind, text = str(match.lastgroup), match.group()
        if kind == "number":
            found.append(Token(kind, text, at, _number(text, source, at)))
        elif kind == "infinity":
            found.append(Token("number", text, at, float(text)))
        elif kind == "string":
            found.append(Token(kind, text, at, _unescaped(text, source, at)))
        elif kind != "space":
            found.append(Token(kind, text, at))
        at = match.end()
    # What comes last is blank, as in a cell: a place behind it would point at nothing.
    found.append(Token("end", "the end of the query", len(source.rstrip())))
    return found


def moment(text: str) -> datetime:
    """Give the time that an ISO 8601 text names; UTC where it names no zone.

    Raises:
        ValueError: it is not such a text.
    """
    made = datetime.fromisoformat(text)
    return made if made.tzinfo is not None else made.replace(tzinfo=UTC)


def _unreadable(source: str, at: int) -> NoReturn:
    sign = source[at]
    if sign in "'\"":
        refuse("this string has no end", source, at)
    if sign.isdigit() or (sign in "+-" and source[at + 1 : at + 2].isdigit()):
        refuse("this is not a number that Gremlin knows", source, at)
    if source.startswith("/*", at):
        refuse("this comment has no end", source, at)
    refuse(f"{sign!r} means nothing in a Gremlin query", source, at)


def _unescaped(text: str, source: str, at: int) -> str:
    if "\\" not in text:
        return text[1:-1]

    def replaced(match: re.Match[str]) -> str:
        code, octal, joined, plain, unknown = match.groups()
        if unknown is not None:
            place = at + 1 + match.start()
            refuse(f"\\{unknown} is not an escape that Gremlin knows", source, place)
        if code is not None:
            return chr(int(code, 16))
        if octal is not None:
            return chr(int(octal, 8))
        return "" if joined is not None else _SHORT_ESCAPES.get(plain, plain)

    made = _ESCAPE.sub(replaced, text[1:-1])
    try:  # an emoji may be written as two \u escapes, as Java does
        return made.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        refuse("this string holds half of a surrogate pair", source, at)


def _number(text: str, source: str, at: int) -> object:
    plain = text.replace("_", "")
    digits = plain.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        suffix = plain[-1].lower() if plain[-1].lower() in "snil" else ""
        return _whole(int(plain.removesuffix(plain[-1] if suffix else ""), 16), suffix, source, at)
    suffix = plain[-1].lower() if plain[-1].isalpha() else ""
    body = plain[:-1] if suffix else plain
    broken = "." in body or "e" in body.lower()
    if suffix in ("d", "f", "m") or broken:
        return _broken(body, suffix, source, at)
    if len(digits) > 1 and digits[0] == "0" and digits[1:2].isdigit():
        try:  # as in Java, a leading zero means octal
            return _whole(int(body, 8), suffix, source, at)
        except ValueError:
            refuse("a number with a leading zero is octal, and this one is not", source, at)
    if len(body) > 4000:  # CPython refuses longer ones, for their time grows with the square
        refuse("this number has more than 4000 digits", source, at)
    return _whole(int(body), suffix, source, at)


def _broken(body: str, suffix: str, source: str, at: int) -> float | BigDecimal:
    if suffix == "m":
        made: BigDecimal = bigdecimal(body)
        return made
    if suffix == "f":
        return Float32(body)
    if suffix in ("", "d"):
        return float(body)
    refuse(f"a number with a fraction cannot have the suffix {suffix!r}", source, at)


def _whole(value: int, suffix: str, source: str, at: int) -> int:
    if suffix == "":
        suffix = "i" if _fits(value, 32) else "l" if _fits(value, 64) else "n"
    if suffix == "n":
        return cast(int, int.__new__(bigint, value))
    bits, made = _WHOLE[suffix]
    if not _fits(value, bits):
        refuse(f"this number does not fit the {bits} bits of its suffix", source, at)
    return cast(int, int.__new__(made, value))


def _fits(value: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)
