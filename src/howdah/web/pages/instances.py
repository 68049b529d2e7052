"""The list of instances."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.core.endpoint import endpoints
from howdah.phrase import say
from howdah.service.caller import Seen
from howdah.web.visit import Shown, Visit

SOON_DAYS = 14


@dataclass(frozen=True)
class Row:
    """One instance in the list."""

    name: str
    state: tuple[str, str]
    version: int
    tls: bool
    pooler: str  # the pool mode, empty without a pooler
    direct: str
    pooled: str
    days: float | None  # of the certificate that ends first
    soon: bool
    connections: str
    size: str
    pending: bool


@dataclass(frozen=True)
class Listing:
    """Every instance."""

    rows: tuple[Row, ...]


def listing(visit: Visit) -> Shown:
    """Show every instance with its state."""
    rows = tuple(_row(visit, seen) for seen in visit.service.all())
    return Shown("instances.html", Listing(rows), say("Database instances"))


def _row(visit: Visit, seen: Seen) -> Row:
    want = seen.instance
    places = {each.kind: f"{each.host}:{each.port}" for each in endpoints(want)}
    days = min((left for left in seen.quick.days_left.values() if left is not None), default=None)
    latest = visit.desk.samples.latest(want.id) if seen.status in ("running", "updating") else {}
    return Row(
        name=want.name,
        state=visit.say.state(seen.status),
        version=want.version,
        tls=want.tls,
        pooler=want.pooler["pool_mode"] if want.pooler is not None else "",
        direct=places["direct"],
        pooled=places.get("pooled", ""),
        days=days,
        soon=days is not None and days < SOON_DAYS,
        connections=visit.say.number(latest.get("direct", 0) + latest.get("clients", 0)) if latest else "–",
        size=visit.say.size(latest.get("size")) if latest else "–",
        pending=bool(seen.pending_restart),
    )
