"""Numbers as PostgreSQL writes them: `512MB`, `0x10`, `1.5h`, `30s`, read to the parameter's own base unit and spelled back.

The rules are those of `parse_int` and `parse_real` in PostgreSQL's guc.c, the same in 13 to 18: units are case-sensitive, a number
without a unit is in the base unit, a fraction is rounded to the next smaller unit, integers may be hexadecimal or octal. Nothing here
knows a parameter, and nothing is guessed: what PostgreSQL would refuse is `Unreadable`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

from howdah.phrase import Phrase, say

# How many bytes, or microseconds, one of each unit holds; largest first.
MEMORY: Mapping[str, int] = MappingProxyType({"TB": 1 << 40, "GB": 1 << 30, "MB": 1 << 20, "kB": 1 << 10, "B": 1})
TIME: Mapping[str, int] = MappingProxyType(
    {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
)

# strtol(…, 0) and strtod() under the C locale, after which at most one unit may stand, blanks around each.
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]++|0[0-7]*+|[1-9][0-9]*+)(?![0-9.eExX])")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?")
# strtol() reads a hexadecimal integer up to its point, and only then is strtod() asked.
_WITH_POINT = re.compile(r"[+-]?0[xX][0-9a-fA-F]+\.[0-9a-fA-F]*(?:[pP][+-]?[0-9]+)?")
# What strtol() does with a leading zero before it sees a digit that is not octal: it stops, and the rest is no unit.
_BROKEN_OCTAL = re.compile(r"[+-]?0[0-7]*[89]")


class Unreadable(ValueError):
    """The text is no number of the kind wanted; `expected` says what would be."""

    def __init__(self, expected: Phrase) -> None:
        super().__init__(str(expected))
        self.expected = expected


def family(unit: str) -> Mapping[str, int]:
    """Return the units that may be written for a base unit such as `8kB` or `ms`.

    >>> list(family("8kB"))
    ['TB', 'GB', 'MB', 'kB', 'B']
    """
    return TIME if unit in TIME else MEMORY


def size(unit: str) -> int:
    """Return how many bytes or microseconds a base unit holds; `8kB` is PostgreSQL's name for a block.

    >>> size("8kB"), size("min")
    (8192, 60000000)
    """
    digits = re.match(r"[0-9]*", unit)
    count = digits.group() if digits else ""
    return int(count or 1) * family(unit)[unit[len(count) :]]


def read_integer(text: str, unit: str | None = None) -> int:
    """Return a whole number of base units, rounded as PostgreSQL rounds (half to even).

    >>> read_integer("512MB", "8kB"), read_integer("0x10"), read_integer("2.5"), read_integer("1.5h", "s")
    (65536, 16, 2, 5400)
    """
    text = text.strip(" ")
    if _BROKEN_OCTAL.match(text):
        raise Unreadable(say("an integer"))
    found = _INTEGER.match(text)
    number: float = _whole(found.group()) if found else math.nan
    if not found:
        found = _WITH_POINT.match(text) or _DECIMAL.match(text)
        if not found:
            raise Unreadable(say("an integer"))
        number = _real(found.group(), say("an integer"))
    number = _in_base_unit(number, text[found.end() :].strip(" "), unit, say("an integer"))
    return round(number)


def read_real(text: str, unit: str | None = None) -> float:
    """Return a number of base units.

    >>> read_real("0.5"), read_real("500us", "ms"), read_real("1e3")
    (0.5, 0.5, 1000.0)
    """
    text = text.strip(" ")
    found = _HEXADECIMAL.match(text) or _DECIMAL.match(text)
    if not found:
        raise Unreadable(say("a number"))
    return _in_base_unit(_real(found.group(), say("a number")), text[found.end() :].strip(" "), unit, say("a number"))


def _whole(digits: str) -> int:
    bare = digits.lstrip("+-").lower()
    base = 16 if bare.startswith("0x") else 8 if bare.startswith("0") else 10
    return -int(bare, base) if digits.startswith("-") else int(bare, base)


def _real(digits: str, expected: Phrase) -> float:
    try:
        number = float.fromhex(digits) if "x" in digits.lower() else float(digits)
    except OverflowError:
        number = math.inf
    # strtod() reports ERANGE where a number is beyond what a double holds, or so small that it becomes nothing.
    lost = number == 0 and re.search(r"[1-9a-fA-F]", re.split(r"[eEpP]" if "x" not in digits.lower() else r"[pP]", digits)[0])
    if math.isinf(number) or lost:
        raise Unreadable(expected)
    return number


def _in_base_unit(number: float, written: str, unit: str | None, expected: Phrase) -> float:
    """Return the number in the base unit; a fraction is first rounded to the next smaller unit (`30.1GB` is 30822MB)."""
    if not written:
        return number
    if unit is None:
        raise Unreadable(say("{kind} without a unit", kind=expected))
    units = family(unit)
    if written not in units:
        raise Unreadable(say("{kind}, or one with a unit: {units}", kind=expected, units=", ".join(units)))
    base, here = size(unit), units[written]
    value = number * here / base
    smaller = [each for each in units.values() if each < here]
    return round(value / (smaller[0] / base)) * (smaller[0] / base) if smaller else value


def spell(number: float, unit: str | None) -> str:
    """Return base units as a person writes them, in the largest unit that stays whole; special values (-1, 0) stay bare.

    >>> spell(16384, "8kB"), spell(90, "s"), spell(-1, "ms"), spell(0.5, None)
    ('128MB', '90s', '-1', '0.5')
    """
    if unit is None or number <= 0 or number != int(number):
        return f"{number:g}" if isinstance(number, float) else str(number)
    amount = int(number) * size(unit)
    best = next(name for name, each in family(unit).items() if amount % each == 0)
    return f"{amount // family(unit)[best]}{best}"
