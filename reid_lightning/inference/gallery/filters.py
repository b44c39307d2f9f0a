"""Conditions in words, such as `camera != c3 and time >= 2026-11-01`: a small grammar of its own, never `eval`.

condition  = all { "or" all }
all        = one { "and" one }
one        = "not" one | "(" condition ")" | column [ test ]
test       = comparison value | [ "not" ] "in" "(" value { "," value } ")" | "is" [ "not" ] "empty"
comparison = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from reid_lightning.data.cells import is_unicode
from reid_lightning.errors import InputError
from reid_lightning.inference.gallery.conditions import (
    All,
    Anyone,
    Comparison,
    Condition,
    Empty,
    Not,
    OneOf,
    Value,
    read_value,
)

DEEPEST = 50  # parentheses and `not` inside each other
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
    | (?P<sign><=|>=|==|!=|<>|[=<>(),])
    | (?P<word>[^\s()<>=!,'"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = ("and", "or", "not", "in", "is", "empty")
_COMPARISONS = {"=": "==", "==": "==", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class _Token(NamedTuple):
    kind: str
    """"text" (in quotes), "sign", "word" or "end"."""
    text: str
    place: int
    """Of its first character, from 1."""

    def says(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words


def parse_condition(text: str, columns: Mapping[str, str], option: str = "--where") -> Condition:
    """Read a condition.

    A column is written as it is called, in quotes where its name has spaces; `camera`, `person`, `tracklet` and `frame` mean
    `camera_id` and so on. Values need quotes only where they hold spaces, signs or one of the grammar's words. An empty cell
    equals nothing and lies before and after nothing, so that `camera != c3` holds where the camera is not known.

    Args:
        text: The condition.
        columns: Kind of each column.
        option: What messages begin with.

    Raises:
        InputError: It cannot be read, or names an unknown column; the message names the place and the columns.

    Examples:
        >>> condition = parse_condition("camera in (c1, c2) and not frame < 10", {"camera_id": "text", "frame_id": "integer"})
        >>> parse_condition("camra = 1", {"camera_id": "text"})
        Traceback (most recent call last):
        ...
        reid_lightning.errors.InputError: --where: camra at character 1 is not a column (did you mean camera_id?); the columns are camera_id.
    """  # noqa: E501
    if not is_unicode(text):
        raise InputError(f"{option} is not text: it holds half of a surrogate pair; write it in UTF-8.")
    return _Reader(text, columns, option).read()


class _Reader:
    """Reads a condition by recursive descent."""

    def __init__(self, text: str, columns: Mapping[str, str], option: str) -> None:
        self._columns, self._option, self._depth = columns, option, 0
        self._tokens = self._cut(text)
        self._place = 0

    def read(self) -> Condition:
        """Return the whole condition."""
        found = self._any()
        if self._next.kind != "end":
            self._refuse(self._next, "and, or, or the end")
        return found

    def _cut(self, text: str) -> list[_Token]:
        tokens, place = [], 0
        end = len(text.rstrip())
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None:
                rest = text[place:].lstrip()
                at = len(text) - len(rest) + 1
                what = f"the quote {rest[0]}" if rest[0] in "'\"" else rest[0]
                why = "is not closed" if rest[0] in "'\"" else "means nothing"
                raise InputError(f"{self._option}: {what} at character {at} {why}.")
            kind = str(found.lastgroup)
            written = found[kind]
            content = re.sub(r"\\(.)", r"\1", written[1:-1], flags=re.DOTALL) if kind == "text" else written
            tokens.append(_Token(kind, content, found.start(kind) + 1))
            place = found.end()
        return [*tokens, _Token("end", "", end + 1)]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _took(self, *words: str) -> bool:
        """Take the next token where it is one of these words or signs."""
        token = self._next
        fits = token.says(*words) or (token.kind == "sign" and token.text in words)
        self._place += fits
        return fits

    def _any(self) -> Condition:
        return self._joined("or", self._all, Anyone)

    def _all(self) -> Condition:
        return self._joined("and", self._one, All)

    def _joined(
        self, word: str, part: Callable[[], Condition], join: Callable[[tuple[Condition, ...]], Condition]
    ) -> Condition:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            raise InputError(
                f"{self._option}: more than {DEEPEST} conditions lie inside each other at character {self._next.place}."
            )
        if self._took("not"):
            found: Condition = Not(self._one())
        elif self._took("("):
            found = self._any()
            if not self._took(")"):
                self._refuse(self._next, "and, or, or )")
        else:
            found = self._test()
        self._depth -= 1
        return found

    def _test(self) -> Condition:  # noqa: RET503  _refuse does not return
        column = self._column()
        kind = self._columns[column]
        token = self._next
        if token.kind == "sign" and token.text in _COMPARISONS:
            sign = _COMPARISONS[self._take().text]
            if kind == "truth" and sign not in ("==", "!="):
                raise InputError(
                    f"{self._option}: {column} is true or false, which {token.text} at character {token.place} does not "
                    "compare; write == or !=."
                )
            return Comparison(column, sign, self._value(column))
        if self._took("is"):
            negated = self._took("not")
            if not self._took("empty"):
                self._refuse(self._next, "empty" if negated else "empty or not empty")
            return Not(Empty(column)) if negated else Empty(column)
        if token.says("in", "not"):
            negated = self._took("not")
            if not self._took("in"):
                self._refuse(self._next, "in")
            found = OneOf(column, self._values(column))
            return Not(found) if negated else found
        if kind == "truth":
            return Comparison(column, "==", True)
        self._refuse(token, f"a comparison of {column} (== != < <= > >= in, is empty)")

    def _column(self) -> str:
        token = self._take()
        if token.kind not in ("word", "text") or token.says(*_WORDS):
            self._refuse(token, "a column")
        for name in (token.text, f"{token.text}_id"):
            if name in self._columns:
                return name
        near = difflib.get_close_matches(token.text, self._columns, 1, 0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(
            f"{self._option}: {token.text} at character {token.place} is not a column{hint}; the columns are "
            f"{', '.join(self._columns)}."
        )

    def _values(self, column: str) -> tuple[Value, ...]:
        if not self._took("("):
            self._refuse(self._next, "a list such as (a, b)")
        values = [self._value(column)]
        while self._took(","):
            values.append(self._value(column))
        if not self._took(")"):
            self._refuse(self._next, ", or )")
        return tuple(values)

    def _value(self, column: str) -> Value:
        token = self._take()
        if token.kind not in ("word", "text") or token.says(*_WORDS):
            self._refuse(token, f"a value for {column}")
        try:
            return read_value(token.text, self._columns[column])
        except ValueError as error:
            raise InputError(
                f"{self._option}: {column} holds {error}, which {token.text} at character {token.place} is not."
            ) from None

    def _refuse(self, token: _Token, wanted: str) -> NoReturn:
        found = "the end" if token.kind == "end" else token.text
        raise InputError(
            f"{self._option}: {wanted} is expected at character {token.place}, found {found}; the columns are "
            f"{', '.join(self._columns)}."
        )
