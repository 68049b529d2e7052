"""The logs of an instance: the last lines of a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from howdah.core.machine import LogSource
from howdah.phrase import Phrase, say
from howdah.web.pages.instance import head
from howdah.web.visit import Shown, Visit

SOURCES: tuple[tuple[LogSource, Phrase], ...] = (("postgres", say("PostgreSQL")), ("pooler", say("PgBouncer")), ("howdah", say("Howdah")))
_BYTES = 65_536
_LINES = 300


@dataclass(frozen=True)
class Logs:
    """The last lines of one source."""

    name: str
    source: str
    sources: tuple[tuple[str, str], ...]
    words: str
    lines: tuple[str, ...]


def logs(visit: Visit) -> Shown:
    """Show the last lines of a log, those with certain words where some are given."""
    seen, top = head(visit)
    known = dict(SOURCES)
    source = cast(LogSource, visit.query.get("source") if visit.query.get("source") in known else "postgres")
    words = visit.query.get("q")
    lines: list[str] = []
    for path in reversed(list(visit.service.logs(seen.instance.name, source))):
        lines = [*_tail(path), *lines]
        if len(lines) >= _LINES:
            break
    if words:
        lines = [line for line in lines if words.lower() in line.lower()]
    page = Logs(seen.instance.name, source, tuple((key, visit.say(title)) for key, title in SOURCES), words, tuple(lines[-_LINES:]))
    return Shown("logs.html", page, say("Logs"), tab="logs", head=top)


def _tail(path: object) -> list[str]:
    with open(str(path), "rb") as file:  # noqa: PTH123
        file.seek(max(0, file.seek(0, 2) - _BYTES))
        return [
            "".join(c if c.isprintable() or c == "\t" else "·" for c in line) for line in file.read().decode(errors="replace").splitlines()
        ]
