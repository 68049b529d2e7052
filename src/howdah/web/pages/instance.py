"""What stands above the tabs of every page of one instance."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.phrase import Phrase, say
from howdah.service.caller import Seen
from howdah.web.visit import Visit

TABS: tuple[tuple[str, Phrase], ...] = (
    ("overview", say("Overview")),
    ("parameters", say("Database parameters")),
    ("extensions", say("Extensions")),
    ("databases", say("Databases")),
    ("users", say("Users")),
    ("connect", say("Connect")),
    ("security", say("Security")),
    ("monitoring", say("Monitoring")),
    ("operations", say("Operations")),
    ("logs", say("Logs")),
)


@dataclass(frozen=True)
class Head:
    """An instance in one line, what can be done with all of it, and its tabs."""

    name: str
    status: str
    state: tuple[str, str]
    version: int
    tls: bool
    pooler: bool
    pending: tuple[str, ...]
    wanted: str
    tabs: tuple[tuple[str, str], ...]
    working: int  # the number of the operation under way, 0 for none


def head(visit: Visit) -> tuple[Seen, Head]:
    """Return an instance as it is now, and its head."""
    seen = visit.service.show(visit.name)
    return seen, head_of(visit, seen)


def head_of(visit: Visit, seen: Seen) -> Head:
    """Return the head of an instance that was looked at."""
    want = seen.instance
    at_work = seen.last is not None and seen.last.outcome in ("waiting", "running") and seen.status in ("creating", "updating", "deleting")
    return Head(
        name=want.name,
        status=seen.status,
        state=visit.say.state(seen.status),
        version=want.version,
        tls=want.tls,
        pooler=want.pooler is not None,
        pending=seen.pending_restart,
        wanted=want.state,
        tabs=tuple((key, visit.say(title)) for key, title in TABS),
        working=seen.last.id if at_work and seen.last is not None else 0,
    )
