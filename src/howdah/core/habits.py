r"""What a statement leaves in its session, so that it does not hold when each transaction gets any server connection.

A statement is looked at as a text, with its strings and comments taken out: what stands in a function's body is not seen. What ends with
the transaction (SET LOCAL, pg_advisory_xact_lock, ON COMMIT DROP) leaves nothing. No value of a statement is ever kept, only names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from howdah.phrase import Phrase, say

# https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes"; lastval() is not in it, and is the session's all the same.


@dataclass(frozen=True)
class Feature:
    """Something of a session: what of it breaks in transaction mode, and what to do instead; `stays`: there is no other way."""

    title: Phrase
    breaks: Phrase
    cure: Phrase
    stays: bool = False


FEATURES: Final[Mapping[str, Feature]] = {
    "listen": Feature(
        say("LISTEN"),
        say("the connection that listens is given to others, and notifications reach nobody"),
        say("give the connection that listens, and it alone, the direct string: `howdah connect NAME --via direct`"),
        stays=True,
    ),
    "advisory_lock": Feature(
        say("advisory locks of a session"),
        say("the lock stays on a server connection that others are given, and its unlock comes to another one"),
        say("take pg_advisory_xact_lock() within a transaction; for a lock that is held longer, the direct string"),
    ),
    "temporary": Feature(
        say("temporary tables"),
        say("the table is on one server connection, and the next transaction may be on another, where somebody else's may be"),
        say("create it in the transaction that uses it, ON COMMIT DROP; else the direct string"),
    ),
    "search_path": Feature(
        say("search_path of a session"),
        say("the next transaction looks elsewhere, and other applications look where this one set it"),
        say("say it once for the user: ALTER ROLE … IN DATABASE … SET search_path = …; for one transaction, SET LOCAL"),
    ),
    "role": Feature(
        say("SET ROLE"),
        say("the next transaction may have other rights, and other applications these"),
        say("SET LOCAL ROLE within the transaction, or a user of its own: `howdah users add NAME USER`"),
    ),
    "set": Feature(
        say("settings of a session (SET)"),
        say("the next transaction is without it, and other applications get it"),
        say("say it once for the user: ALTER ROLE … IN DATABASE … SET …; for one transaction, SET LOCAL"),
    ),
    "prepare": Feature(
        say("PREPARE and EXECUTE in SQL"),
        say("the statement is on one server connection; the pooler carries only those of the protocol"),
        say("let the driver prepare, by the protocol (PgBouncer 1.21 carries that), or send the statement as it is"),
    ),
    "protocol_prepare": Feature(
        say("prepared statements of the protocol"),
        say("this pooler does not carry them from one server connection to the next"),
        say("switch them off as the text of `howdah connect` does, or install PgBouncer 1.22"),
    ),
    "hold": Feature(
        say("cursors WITH HOLD"),
        say("the cursor outlives its transaction on one server connection, and the next FETCH may come to another"),
        say("fetch within the transaction, without WITH HOLD; Django: DISABLE_SERVER_SIDE_CURSORS; else the direct string"),
    ),
    "load": Feature(
        say("LOAD"),
        say("the library is loaded into one server connection, and the next transaction may be on another"),
        say("load it for everybody: session_preload_libraries for the user, or an extension of the instance"),
    ),
    "last_value": Feature(
        say("lastval() and currval()"),
        say("outside the transaction that drew the number they fail, or tell the number of somebody else"),
        say("take the number from INSERT … RETURNING, or ask within the same transaction"),
    ),
}

# What PgBouncer itself carries from one server connection to the next, and what makes no difference (PostgreSQL 12 and newer)
CARRIED: Final = frozenset({"client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"})
_INDIFFERENT: Final = frozenset({"extra_float_digits"})


@dataclass(frozen=True, order=True)
class Habit:
    """A feature, and the words by which it was seen, without any value."""

    feature: str
    words: str


_SCRUB = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<string>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)"""
    r"""|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))""",
    re.DOTALL,
)
_NAME = r'("(?:[^"]|"")+"|[\w.]+)'
_SET = re.compile(rf"SET\s+(?:SESSION\s+)?{_NAME}(?:\s*=|\s+TO\b)", re.IGNORECASE)
_CONFIG = re.compile(r"\bset_config\s*\(\s*'([^']+)'\s*,.*?,\s*(?:false|'f(?:alse)?'|0::)", re.IGNORECASE | re.DOTALL)
_FIRST: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = tuple(
    (feature, re.compile(pattern, re.IGNORECASE | re.DOTALL), words)
    for feature, pattern, words in (
        ("role", r"SET\s+(?:SESSION\s+)?(?:ROLE|AUTHORIZATION)\b", "SET ROLE"),
        ("set", r"SET\s+SESSION\s+CHARACTERISTICS\b", "SET SESSION CHARACTERISTICS"),
        ("listen", rf"LISTEN\s+{_NAME}", "LISTEN {}"),
        ("prepare", rf"PREPARE\s+(?!TRANSACTION\b){_NAME}", "PREPARE {}"),
        ("prepare", rf"EXECUTE\s+{_NAME}", "EXECUTE {}"),
        ("hold", rf"DECLARE\s+{_NAME}\s.*?\bWITH\s+HOLD\b", "DECLARE {} WITH HOLD"),
        ("load", r"LOAD\b", "LOAD"),
        (
            "temporary",
            rf"CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?\s+(?:TABLE|VIEW|SEQUENCE|RECURSIVE\s+VIEW)\s+"
            rf"(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}(?!.*\bON\s+COMMIT\s+DROP\b)",
            "CREATE TEMPORARY {}",
        ),
        ("temporary", rf"SELECT\b.*?\bINTO\s+(?:LOCAL\s+)?TEMP(?:ORARY)?\s+(?:TABLE\s+)?{_NAME}", "SELECT INTO TEMPORARY {}"),
    )
)
_CALLS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("advisory_lock", re.compile(r"\b(pg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)?)\s*\(", re.IGNORECASE)),
    ("last_value", re.compile(r"\b(lastval|currval)\s*\(", re.IGNORECASE)),
)


def habits(statements: str) -> frozenset[Habit]:
    """Return what statements, with semicolons between them, leave in their session.

    >>> sorted(habits("BEGIN; SET LOCAL work_mem = '1MB'; SET search_path TO a, b; SELECT 'LISTEN x' -- LISTEN y"))
    [Habit(feature='search_path', words='SET search_path')]
    >>> [each.words for each in habits("CREATE TEMP TABLE t (a int)") | habits("CREATE TEMP TABLE t (a int) ON COMMIT DROP")]
    ['CREATE TEMPORARY t']
    """
    without_comments = _SCRUB.sub(lambda found: " " if found["comment"] else found[0], statements)
    found = {Habit(*_setting(name)) for name in _CONFIG.findall(without_comments)}
    for part in _SCRUB.sub(lambda each: " " if each["comment"] else "''", statements).split(";"):
        found.update(_of_one(part.strip()))
    return frozenset(each for each in found if each.feature)


def _of_one(statement: str) -> Iterator[Habit]:
    first = next(((feature, found, words) for feature, pattern, words in _FIRST if (found := pattern.match(statement))), None)
    if first is not None:
        feature, match, words = first
        yield Habit(feature, words.format(*(_plain(group) for group in match.groups())))
    elif (setting := _SET.match(statement)) is not None:
        yield Habit(*_setting(_plain(setting[1])))
    for feature, pattern in _CALLS:
        for name in pattern.findall(statement):
            yield Habit(feature, f"{name.lower()}()")


def _setting(name: str) -> tuple[str, str]:
    """Return the feature that setting a parameter is; none for one that the pooler carries or that makes no difference."""
    lower = name.lower()
    if lower in CARRIED | _INDIFFERENT | {"local", "transaction", "constraints"}:
        return "", ""
    feature = lower if lower in ("search_path", "role") else "set"
    return feature, "SET ROLE" if lower == "role" else f"SET {lower}"


def _plain(name: str) -> str:
    return "".join(c for c in name.strip('"') if c.isprintable())[:63]
