"""Howdah's own settings: environment variables, each with a type, a default and a sentence. One tuple feeds code, help and documents.

What PostgreSQL and PgBouncer are told is not here: those are parameters of an instance. A setting that cannot be right is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from howdah.errors import Invalid
from howdah.phrase import Phrase, say

SYSTEM_HOME = Path("/var/lib/howdah")
TRASH_SECONDS = 600.0
LOG_MB = 500
_LEAST_LOG_MB = 50
_MOST_SPARES = 20
_YEAR = 31_536_000.0


@dataclass(frozen=True)
class Setting:
    """One environment variable that Howdah reads."""

    name: str
    type: Literal["directory", "directories", "seconds", "language", "program", "megabytes", "number", "secret"]
    default: Phrase
    sentence: Phrase


SETTINGS = (
    Setting(
        "HOWDAH_HOME",
        "directory",
        say("/var/lib/howdah for root, else ~/.local/share/howdah"),
        say("where instances, keys and what is remembered of them live"),
    ),
    Setting("HOWDAH_TRASH", "seconds", say("600"), say("how long the data of a deleted instance is kept; 0 removes it at once")),
    Setting("HOWDAH_LOG_MB", "megabytes", say("500"), say("how much the logs of one instance may take together, in MB; at least 50")),
    Setting("HOWDAH_SPARES", "number", say("1"), say("how many spare data directories of each version are kept ready; 0 keeps none")),
    Setting("HOWDAH_LANG", "language", say("the locale's"), say("en or ru: the language in which people are spoken to")),
    Setting("HOWDAH_PGBOUNCER", "program", say("found on PATH and in /usr/sbin"), say("the PgBouncer to run")),
    Setting(
        "HOWDAH_POSTGRES_BINDIRS",
        "directories",
        say("those of the operating system"),
        say("more directories with PostgreSQL's programs, separated by colons"),
    ),
    Setting(
        "HOWDAH_ADMIN_PASSWORD",
        "secret",
        say("one is made, and printed once"),
        say("the password of the account admin, which the first howdah serve makes"),
    ),
)


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the directory that holds all state, or refuse a HOWDAH_HOME that no configuration file could carry."""
    named = environ.get("HOWDAH_HOME", "")
    if not named:
        return SYSTEM_HOME if os.geteuid() == 0 else _user_home(environ)
    path = Path(named)
    if not path.is_absolute() or ".." in path.parts:
        raise _refuse("HOWDAH_HOME", named, say("expected an absolute path without .."))
    # It is written into postgresql.conf, pgbouncer.ini and connection strings; what one of them could not carry is no home for any.
    if any(not each.isprintable() or each in "'\"\\" for each in named):
        raise _refuse("HOWDAH_HOME", named, say("expected a path without quotes, backslashes and control characters"))
    return path


def _user_home(environ: Mapping[str, str]) -> Path:
    own = environ.get("HOME", "")
    if not Path(own).is_absolute():
        raise _refuse("HOME", own, say("expected an absolute path"))
    return home({"HOWDAH_HOME": f"{own.rstrip('/')}/.local/share/howdah"})


def trash_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Return how long, in seconds, the data of a deleted instance is kept.

    >>> trash_seconds({}), trash_seconds({"HOWDAH_TRASH": "0"})
    (600.0, 0.0)
    """
    text = environ.get("HOWDAH_TRASH", "")
    try:
        seconds = float(text) if text else TRASH_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _YEAR:
        raise _refuse("HOWDAH_TRASH", text, say("expected seconds, 0 or more"))
    return seconds


def log_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """Return how much the logs of one instance may take together, in bytes.

    >>> log_bytes({}), log_bytes({"HOWDAH_LOG_MB": "50"})
    (500000000, 50000000)
    """
    text = environ.get("HOWDAH_LOG_MB", "")
    megabytes = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    if text and megabytes < _LEAST_LOG_MB:
        raise _refuse("HOWDAH_LOG_MB", text, say("expected a whole number of megabytes, {least} or more", least=_LEAST_LOG_MB))
    return (megabytes or LOG_MB) * 1_000_000


def spares(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many spare data directories of each version are kept.

    >>> spares({}), spares({"HOWDAH_SPARES": "0"})
    (1, 0)
    """
    text = environ.get("HOWDAH_SPARES", "")
    number = int(text or "1") if not text or (text.isascii() and text.isdigit() and len(text) < 4) else -1
    if not 0 <= number <= _MOST_SPARES:
        raise _refuse("HOWDAH_SPARES", text, say("expected a whole number, 0 to {most}", most=_MOST_SPARES))
    return number


def _refuse(name: str, value: str, expected: Phrase) -> Invalid:
    shown = value if value.isprintable() and len(value) <= 80 else ascii(value[:80])
    return Invalid("invalid_setting", say("cannot use {name}={value}: {expected}", name=name, value=shown, expected=expected))
