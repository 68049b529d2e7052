r"""Which known messages are in a text that somebody pasted: a driver's traceback, a line of a log, JSON, lines that a terminal broke.

Words are looked for without regard to case, kind of quotes and colours; a text in which none is found may still name its SQLSTATE. Nothing
is guessed from words that merely look alike: what is not known stays unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from howdah.catalog.messages import BY_PLACE, Message, Where
from howdah.catalog.messages.russian import WORDS as RUSSIAN
from howdah.catalog.messages.states import MEANS

MOST: Final = 3
LONGEST: Final = 1 << 20  # characters that are looked at
_SHORT: Final = 18  # letters; fewer must stand by themselves
_MOST_BROKEN: Final = 40  # lines that may be one
_BROKEN: Final = 8  # by how much less telling it is then
_BETWEEN: Final = 120  # characters that `…` may stand for
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_QUOTES = str.maketrans(dict.fromkeys("'`´‘’‚“”„«»", '"'))
_STATE = re.compile(r"(?i:sql\s?state|err_?code|state_code|\bcode)\W{0,4}([0-9A-Z]{5})\b|\((?:SQLSTATE )?([0-9][0-9A-Z]{4})\)")
_RANKS: Final[dict[Where, int]] = {"client": 2, "driver": 2, "start": 1, "log": 0}


@dataclass(frozen=True)
class Match:
    """A known message and where it is listed; `by_state` where only its SQLSTATE was found."""

    message: Message
    where: Where
    by_state: bool = False


@dataclass(frozen=True)
class _Found:
    match: Match
    weight: tuple[int, int]  # characters of its words, rank of its place
    line: int
    span: tuple[int, int]


def explain(text: str) -> tuple[Match, ...]:
    """Return what is known of a text, the most telling first, at most three.

    >>> [match.message.id for match in explain('psql: FATAL:  database “x” does not exist')]
    ['no-database']
    >>> explain("all is well")
    ()
    """
    lines = _lines(text[-LONGEST:])
    found = list(_in_lines(lines))
    if 1 < len(lines) <= _MOST_BROKEN:  # a terminal breaks lines anywhere
        found += [replace(each, weight=(each.weight[0] - _BROKEN, 0), line=-1) for each in _in_lines([" ".join(lines)])]
    if not found:
        return _by_state(text)
    best = sorted(_not_within_another(found), key=lambda each: each.weight, reverse=True)
    return tuple(_told_apart(best))[:MOST]


# --- the text -----------------------------------------------------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    """Return the lines to look at: those of the text, and each text within its JSON."""
    plain = _COLOURS.sub("", text)
    lines = plain.splitlines()
    for part in [plain, *lines]:
        with suppress(ValueError, RecursionError):
            lines += [line for found in _strings(json.loads(part)) for line in found.splitlines()]
    unescaped = [part for line in lines for part in line.replace('\\"', '"').replace("\\n", "\n").splitlines()]
    return [" ".join(line.translate(_QUOTES).casefold().split()) for line in unescaped if line.strip()]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


# --- the words ----------------------------------------------------------------------------------------------------------------------


def _in_lines(lines: list[str]) -> Iterator[_Found]:
    for where, message, pattern, weight in _patterns():
        for number, line in enumerate(lines):
            if found := pattern.search(line):
                stray = (found.end() - found.start() - weight) // 4  # what `…` stands for may be any words between
                yield _Found(Match(message, where), (weight - stray, _RANKS[where]), number, found.span())
                break


@cache
def _patterns() -> tuple[tuple[Where, Message, re.Pattern[str], int], ...]:
    return tuple(
        (where, message, *_pattern(words))
        for where, messages in BY_PLACE.items()
        for message in messages
        for words in (message.words, *RUSSIAN.get(message.id, ()))
    )


def _pattern(words: str) -> tuple[re.Pattern[str], int]:
    """Return the pattern of some words, and how many characters of them are fixed.

    Words as short as "not allowed" stand in many a sentence, so that they must be all that follows a colon.
    """
    parts = [" ".join(part.translate(_QUOTES).casefold().split()) for part in words.split("…")]
    between = rf".{{0,{_BETWEEN}}}?"
    inner = between.join(r"\s*".join(map(re.escape, [part])) for part in parts if part)
    length = sum(map(len, parts))
    if length < _SHORT and "…" not in words:
        return re.compile(rf"(?:^|[:\]|>({{\"]\s*)({inner})\W*(?:$|\")"), length
    return re.compile(rf"(?<!\w){inner}(?!\w)" if parts[0][:1].isalnum() else inner), length


def _not_within_another(found: list[_Found]) -> list[_Found]:
    """Leave out what is only a part of a more telling message in the same line, and what the same words mean in a log alone."""
    return [each for each in found if not any(_within(each, other) for other in found)]


def _within(one: _Found, other: _Found) -> bool:
    if one is other or one.line != other.line:
        return False
    if one.match.message.words == other.match.message.words:
        return one.match.where == "log" != other.match.where
    inside = other.span[0] <= one.span[0] and one.span[1] <= other.span[1]
    return inside and other.weight > one.weight


def _told_apart(found: list[_Found]) -> Iterator[Match]:
    """Return each cause and cure once."""
    told = set[tuple[str, str]]()
    for each in found:
        message = each.match.message
        if (key := (str(message.cause), str(message.cure))) not in told:
            told.add(key)
            yield each.match


def _by_state(text: str) -> tuple[Match, ...]:
    """Return what a SQLSTATE means where the words are not known: a server may speak any language."""
    known = {message.id: Match(message, where, by_state=True) for where, messages in BY_PLACE.items() for message in messages}
    states = [first or second for first, second in _STATE.findall(_COLOURS.sub("", text))]
    return tuple(known[name] for name in dict.fromkeys(name for state in states for name in MEANS.get(state, ())))[:MOST]
