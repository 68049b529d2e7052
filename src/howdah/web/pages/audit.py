"""The audit log: who did what, from where, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.phrase import say
from howdah.web.visit import Shown, Visit

_ROWS = 100


@dataclass(frozen=True)
class Line:
    """One deed."""

    at: str
    iso: str
    account: str
    address: str
    verb: str
    about: str
    outcome: str
    good: bool
    words: str


@dataclass(frozen=True)
class Audit:
    """The newest deeds, and where older ones begin."""

    about: str
    lines: tuple[Line, ...]
    older: str


def audit(visit: Visit) -> Shown:
    """Show what was done, latest first; for admins."""
    visit.require("admin")
    about, before = visit.query.get("about"), visit.query.get("before")
    start = float(before) if before.replace(".", "", 1).isdigit() and len(before) < 20 else 0.0
    found = visit.desk.people.deeds(_ROWS, about=about, before=start)
    lines = tuple(
        Line(
            visit.say.moment(d.at),
            visit.say.iso(d.at),
            d.account,
            d.address,
            visit.say.verb(d.verb),
            d.about,
            _outcome(visit, d.outcome),
            d.outcome == "done",
            d.words,
        )
        for d in found
    )
    older = repr(found[-1].at) if len(found) == _ROWS else ""
    return Shown("audit.html", Audit(about, lines, older), say("Audit"))


def _outcome(visit: Visit, outcome: str) -> str:
    """Return an outcome in words; what a verb refused keeps its code, by which documents explain it."""
    return visit.say.outcome(outcome)[0] if outcome == "done" else outcome
