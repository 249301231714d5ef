"""What reads a query token by token, and says what is wrong with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from twingraph_nb.lineage.text_tokens import Token, refuse, tokens

__all__ = ["LAMBDA", "Reader"]

LAMBDA = (
    "lambdas are code and are not taken as text: say it in steps, such as "
    "where(), choose(), math() or project()"
)


class Reader:
    """Reads a query one token after the other.

    now: the token that is read next. peek: the one behind it.
    """

    def __init__(self, source: str, bindings: Mapping[str, object]) -> None:
        self._source, self._bindings = source, bindings
        self._tokens = tokens(source)
        self._next = 0
        self._depth = 0  # of brackets

    @property
    def now(self) -> Token:
        """The token that is read next."""
        return self._tokens[self._next]

    @property
    def peek(self) -> Token:
        """The token behind it."""
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    def step(self) -> Token:
        """Read a token."""
        token = self.now
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def at(self, *marks: str) -> bool:
        """Whether one of these marks is next."""
        return self.now.kind == "mark" and self.now.text in marks

    def expect(self, mark: str) -> Token:
        """Read this mark.

        Raises:
            LineageError: something else is there.
        """
        if not self.at(mark):
            if self.at("->"):
                self.fail(LAMBDA)
            self.fail(f"{mark!r} is missing here, before {self.now.shown}")
        return self.step()

    def name(self, what: str) -> Token:
        """Read a name; dunders are refused.

        Raises:
            LineageError: there is none.
        """
        if self.now.kind != "name":
            self.fail(f"the name of a {what} is missing here, before {self.now.shown}")
        if self.now.text.startswith("__"):
            self.fail(f"{self.now.shown} is no {what} of Gremlin")
        return self.step()

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        """Raise the error that shows this token, or the next one."""
        refuse(message, self._source, (token or self.now).at)

    def not_closed(self, end: str) -> NoReturn:
        """Raise the error for what stands where a comma or this end should."""
        if self.at("->"):
            self.fail(LAMBDA)
        if self.at("=", ":"):
            self.fail("named arguments are for strategies only")
        self.fail(f"',' or {end!r} is missing here, before {self.now.shown}")
