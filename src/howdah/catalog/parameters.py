"""PostgreSQL's parameters, as real servers of each major version describe them: what may be set, to what, and what it takes.

A value is read by PostgreSQL's own rules, kept as the person wrote it where that is legal, and compared in units. Nothing here asks a
server or decides what is wise: a string that only the server can judge (a time zone, a search path) passes, and is checked by the
server itself before it is used.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from howdah.catalog import units
from howdah.catalog.policy import OPEN, Policy, policy_of
from howdah.errors import Invalid, Unsupported
from howdah.phrase import Phrase, say

MAJORS = (13, 14, 15, 16, 17, 18)
LONGEST = 4096  # bytes of UTF-8 in one value; PostgreSQL itself has no limit, a person's value is never near it
Type = Literal["bool", "integer", "real", "enum", "string"]

# Choices that a server has only if it was built with the library; a server without it refuses them when it is asked, before use.
_BUILD_CHOICES = {"wal_compression": ("lz4", "zstd"), "default_toast_compression": ("lz4",), "io_method": ("io_uring",)}
_RENAMED = {
    "sort_mem": "work_mem",
    "vacuum_mem": "maintenance_work_mem",
    "wal_keep_segments": "wal_keep_size",
    "checkpoint_segments": "max_wal_size",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `minimum`, `maximum` and `default` (the built-in one) are in `unit`; `context` says when PostgreSQL takes it."""

    name: str
    type: Type
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    default: str | None = None
    context: str = "user"
    description: str = ""
    category: str = ""
    policy: Policy = OPEN
    sentences: tuple[str, ...] = ()  # of the description, as PostgreSQL's own translations have them


Extra = Mapping[str, Parameter]
NONE: Extra = MappingProxyType({})


@cache
def catalog(major: int) -> Mapping[str, Parameter]:
    """Return every parameter of a PostgreSQL major version by its lower-case name (the server writes `DateStyle`, and reads any case)."""
    return MappingProxyType({name: described for name in _rows(major) if (described := _known(major, name)) is not None})


@cache
def _rows(major: int) -> Mapping[str, Mapping[str, Any]]:
    if major not in MAJORS:
        raise Unsupported(
            "unsupported_version",
            say("cannot use PostgreSQL {major}: howdah knows {first} to {last}", major=major, first=MAJORS[0], last=MAJORS[-1]),
        )
    rows = json.loads((Path(__file__).parent / f"postgresql-{major}.json").read_bytes())["parameters"]
    return {row["name"].lower(): row for row in rows}


@cache
def _known(major: int, name: str) -> Parameter | None:
    """Return one parameter: few of the hundreds are ever asked for."""
    row = _rows(major).get(name)
    return _described(row) if row is not None else None


def _described(row: Mapping[str, Any]) -> Parameter:
    name = row["name"].lower()
    number = {"integer": int, "real": float}.get(row["vartype"])
    minimum, maximum = (row.get("min_val"), row.get("max_val")) if number else (None, None)
    choices = tuple(row.get("enumvals") or ())
    if choices and (more := _BUILD_CHOICES.get(name)):
        choices = (*choices, *(each for each in more if each not in choices))
    return Parameter(
        name=name,
        type=row["vartype"],
        unit=row.get("unit"),
        minimum=number(minimum) if number and minimum is not None else None,
        maximum=number(maximum) if number and maximum is not None else None,
        choices=choices,
        default=row.get("boot_val"),
        context=row["context"],
        description=" ".join(filter(None, (row["short_desc"], row.get("extra_desc")))),
        category=row["category"],
        policy=policy_of(name, row["category"], row["context"]),
        sentences=tuple(filter(None, (row["short_desc"], row.get("extra_desc")))),
    )


def find(major: int, name: str, extra: Extra = NONE) -> Parameter:
    """Return the parameter of that name in any case, those that an extension brings (`extra`) included, or refuse it with near names."""
    wanted = name.lower() if name.isascii() else name
    found = _known(major, wanted) or extra.get(wanted)
    if found is None:
        raise Invalid(
            "unknown_parameter",
            say("cannot set {name}: PostgreSQL {major} has no such parameter", name=shown(name), major=major),
            _nearest(major, wanted, {**catalog(major), **extra}),
        )
    return found


def _nearest(major: int, name: str, known: Mapping[str, Parameter]) -> Phrase:
    """Say where an unknown name may belong: a new name, another version, an extension, a slip of the finger."""
    import difflib  # 9 ms, and only a mistake needs it

    if (renamed := _RENAMED.get(name)) in known:
        return say("its name is now {name}", name=renamed)
    if elsewhere := [each for each in MAJORS if each != major and name in catalog(each)]:
        return say("PostgreSQL {majors} has it", majors=", ".join(map(str, elsewhere)))
    if near := difflib.get_close_matches(name, known, n=3, cutoff=0.7):
        return say("did you mean {names}?", names=", ".join(near))
    if "." in name:
        return say("it comes with an extension: howdah extensions catalog, then howdah extensions add NAME EXT")
    return say("howdah params catalog --version {major} --search WORD finds names", major=major)


def parse(major: int, name: str, text: str, extra: Extra = NONE) -> str:
    """Return the value to keep, as written where PostgreSQL takes it so; booleans become on or off, a choice the server's spelling.

    >>> parse(15, "shared_buffers", "512MB"), parse(15, "SSL", "yes"), parse(15, "wal_level", "LOGICAL")
    ('512MB', 'on', 'logical')
    """
    parameter = find(major, name, extra)
    if parameter.policy.kind != "open":
        reason, instead = parameter.policy.reason, parameter.policy.instead
        raise Invalid(f"{parameter.policy.kind}_parameter", say("cannot set {name}: {reason}", name=parameter.name, reason=reason), instead)
    return checked(parameter, text)


def checked(parameter: Parameter, text: str) -> str:
    """Return the canonical text of a value, whatever the parameter's policy, or refuse it with what was expected."""
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in text):
        raise _unfit(parameter, text, say("text without control characters, on one line"))
    if len(text.encode()) > LONGEST:
        raise _unfit(parameter, text, say("at most {most} bytes", most=LONGEST))
    value = _value(parameter, text)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    _within(parameter, text, value)
    return text.strip(" ")


def _value(parameter: Parameter, text: str) -> bool | int | float | str:
    """Return what the text means: a truth, a number of base units, a choice, or the text itself."""
    try:
        if parameter.type == "bool":
            return _truth(text)
        if parameter.type == "integer":
            return units.read_integer(text, parameter.unit)
        if parameter.type == "real":
            return units.read_real(text, parameter.unit)
    except units.Unreadable as unreadable:
        raise _unfit(parameter, text, unreadable.expected) from unreadable
    if parameter.name in _SHAPED and not _SHAPED[parameter.name][0].fullmatch(text):
        raise _unfit(parameter, text, _SHAPED[parameter.name][1])
    return _choice(parameter, text) if parameter.type == "enum" else text


# Texts that PostgreSQL does not judge at a start or a reload, but that fail whoever reads them later: a name, with or without its schema
# (check_default_text_search_config; the view pg_file_settings raises then).
_WORD = r'(?:[A-Za-z_][A-Za-z0-9_$]{0,62}|"(?:[^"]|""){1,63}")'
_SHAPED = {"default_text_search_config": (re.compile(rf"{_WORD}(?:\.{_WORD})?"), say("a name, such as english or pg_catalog.english"))}


def _truth(text: str) -> bool:
    """Return a boolean by any beginning of its words that is not ambiguous, in any case (`parse_bool` in PostgreSQL's bool.c)."""
    word = text.lower() if text.isascii() else ""
    if word in ("1", "on") or (word and ("true".startswith(word) or "yes".startswith(word))):
        return True
    if word in ("0", "of", "off") or (word and ("false".startswith(word) or "no".startswith(word))):
        return False
    raise units.Unreadable(say("on or off"))


def _choice(parameter: Parameter, text: str) -> str:
    """Return the server's spelling of a choice; with on and off, their whole synonyms too (hidden in enumvals)."""
    word = text.lower() if text.isascii() else text
    for choice in parameter.choices:
        if choice.lower() == word:
            return choice
    for truth, words in (("on", ("true", "yes", "1")), ("off", ("false", "no", "0"))):
        if truth in parameter.choices and word in words:
            return truth
    raise _unfit(parameter, text, say("one of {choices}", choices=", ".join(parameter.choices)))


def _within(parameter: Parameter, text: str, value: float) -> None:
    """Refuse a number outside the range, naming the range in units a person uses."""
    low, high = parameter.minimum, parameter.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        lowest = "-∞" if low is None else units.spell(low, parameter.unit)
        highest = "∞" if high is None else units.spell(high, parameter.unit)
        raise _unfit(parameter, text, say("a value from {low} to {high}", low=lowest, high=highest))
    for names, fits, expected in _NARROWER:
        if parameter.name in names and not fits(value):
            raise _unfit(parameter, text, expected)


# What pg_settings does not say of a range, but the server's own checks do: slru.c (17), vacuum (16), aio.c (18), and xlog.c, which keeps a
# server with segments of 16MB from starting.
_NARROWER: tuple[tuple[frozenset[str], Callable[[float], bool], Phrase], ...] = (
    (
        frozenset(
            {
                "commit_timestamp_buffers",
                "multixact_member_buffers",
                "multixact_offset_buffers",
                "notify_buffers",
                "serializable_buffers",
                "subtransaction_buffers",
                "transaction_buffers",
            }
        ),
        lambda blocks: blocks % 16 == 0,
        say("a multiple of 128kB (16 blocks)"),
    ),
    (
        frozenset({"vacuum_buffer_usage_limit"}),
        lambda kilobytes: kilobytes == 0 or kilobytes >= 128,
        say("0, or a value from 128kB to 16GB"),
    ),
    (frozenset({"io_max_concurrency"}), lambda count: count != 0, say("-1, or a value from 1 to 1024")),
    (frozenset({"min_wal_size", "max_wal_size"}), lambda megabytes: megabytes >= 32, say("at least 32MB, two segments of the log")),
)


def _unfit(parameter: Parameter, text: str, expected: Phrase) -> Invalid:
    hint = None
    if parameter.unit:
        named = ", ".join(units.family(parameter.unit))
        hint = say("a bare number counts {unit}; units are {units}, in exactly these letters", unit=parameter.unit, units=named)
    return Invalid(
        "invalid_value",
        say("cannot set {name}={value}: expected {expected}", name=parameter.name, value=shown(text), expected=expected),
        hint,
    )


def shown(text: str) -> str:
    """Return a given text fit for one line of a terminal: control characters escaped, no longer than 60 characters.

    >>> shown("a\\nb")
    'a\\\\nb'
    """
    plain = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:61])
    return plain if len(plain) <= 60 else f"{plain[:59]}…"


def equal(major: int, name: str, a: str, b: str, extra: Extra = NONE) -> bool:
    """Tell whether two texts mean the same: in units, as `512MB`, `524288kB` and pg_settings' bare `65536` do for shared_buffers."""
    return same(find(major, name, extra), a, b)


def same(parameter: Parameter, a: str, b: str) -> bool:
    """Tell whether two texts mean the same value of a parameter; a text that has no meaning equals only itself."""
    if a == b:
        return True
    try:
        first, second = _value(parameter, a), _value(parameter, b)
    except Invalid:
        return False
    if isinstance(first, float) and isinstance(second, float):
        # pg_settings shows a real by %g, six digits: what differs beyond them cannot be seen to differ.
        return math.isclose(first, second, rel_tol=1e-5)
    return first == second


# Where a wanted value in this range (base units) makes the server work out its own and report that: wal_buffers (xlog.c), SLRU buffers
# (slru.c, 17), io_max_concurrency (aio_init.c, 18), autovacuum_work_mem below 1MB (autovacuum.c).
_WORKED_OUT = {
    "wal_buffers": (-1, 3),
    "transaction_buffers": (0, 0),
    "subtransaction_buffers": (0, 0),
    "commit_timestamp_buffers": (0, 0),
    "io_max_concurrency": (-1, -1),
    "autovacuum_work_mem": (0, 1023),
}
# Of a session on a unix socket the server reports 0 (pqcomm.c), whatever new TCP sessions get.
_ONLY_TCP = frozenset({"tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout"})
# Strings whose words the server reports in its own spelling and order.
_WORDS = frozenset({"timezone", "log_timezone", "client_encoding", "timezone_abbreviations", "datestyle", "wal_compression"})
_SPELLED = {
    "european": "dmy",
    "euro": "dmy",
    "us": "mdy",
    "noneuro": "mdy",
    "noneuropean": "mdy",
    "on": "pglz",
    "utf-8": "utf8",
    "unicode": "utf8",
    "iso-8859-1": "latin1",
    "windows-1251": "win1251",
}


def holds(major: int, name: str, wanted: str, reported: str, extra: Extra = NONE) -> bool:
    """Tell whether what a server reports in pg_settings (`setting` or `reset_val`) is what was wanted of it."""
    if wanted == reported:
        return True
    parameter = find(major, name, extra)
    if same(parameter, wanted, reported):
        return True
    if parameter.name in _WORKED_OUT:
        low, high = _WORKED_OUT[parameter.name]
        return low <= units.read_integer(wanted, parameter.unit) <= high
    if parameter.name in _ONLY_TCP:
        return reported == "0"
    return parameter.name in _WORDS and _words(wanted) <= _words(reported)


def _words(text: str) -> frozenset[str]:
    words = text.lower().replace(",", " ").split()
    return frozenset(_SPELLED.get(word, word) for word in words)


def needs_restart(major: int, name: str, extra: Extra = NONE) -> bool:
    """Tell whether a change is taken only when the server starts; all others are taken by a reload."""
    return find(major, name, extra).context == "postmaster"


def quote(text: str) -> str:
    """Return the literal of a value for postgresql.conf, where both quotes and backslashes are doubled (guc-file.l).

    >>> print(quote("it's C:\\\\x"))
    'it''s C:\\\\x'
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
