"""The first tab: an instance as it is, in one screen."""

from __future__ import annotations

from dataclasses import dataclass

from howdah import compose
from howdah.core.endpoint import endpoints
from howdah.core.instance import Instance
from howdah.core.programs import TITLES, weaknesses
from howdah.phrase import say
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.pages.instances import SOON_DAYS
from howdah.web.pages.operations import Told, told
from howdah.web.visit import Shown, Visit


@dataclass(frozen=True)
class Way:
    """One way to the instance."""

    hop: str
    host: str
    port: int
    tls: bool
    days: str
    soon: bool
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    allow: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A program that serves, or a library of one."""

    name: str
    version: str
    weak: int  # how many published weaknesses do harm here
    newer: str  # what is installed, where that is another than the one that runs


@dataclass(frozen=True)
class Overview:
    """An instance in one screen."""

    name: str
    id: str
    size: str
    ways: tuple[Way, ...]
    databases: tuple[str, ...]
    users: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    pooler: tuple[tuple[str, str], ...]
    room: tuple[tuple[str, str], ...]
    full: bool
    operations: tuple[Told, ...]
    fix: str
    trouble: str  # what the latest operation failed by
    programs: tuple[Program, ...]
    created: tuple[str, str]
    numbers: tuple[tuple[str, str, str], ...]  # what it is called, its value, and where more of it is


def overview(visit: Visit) -> Shown:
    """Show an instance: state, ways to it, what it consists of, room, latest operations."""
    seen, top = head(visit)
    want = seen.instance
    room, operations = compose.room(visit.desk.home, want), visit.service.operations(want.name)
    latest = tuple(told(visit, want.name, each) for each in operations[:5])
    born = operations[-1].started if operations and operations[-1].verb == "create" else 0.0
    page = Overview(
        name=want.name,
        id=want.id,
        size=want.size,
        ways=tuple(
            Way(
                visit.say.hop(each.kind),
                each.host,
                each.port,
                each.tls,
                visit.say.number(seen.quick.days_left.get(each.kind)),
                (left := seen.quick.days_left.get(each.kind)) is not None and left < SOON_DAYS,
                each.addresses,
                each.hostnames,
                want.reach(each.kind).allow,
            )
            for each in endpoints(want)
        ),
        databases=tuple(each.name for each in want.databases),
        users=tuple(each.name for each in want.users),
        parameters=tuple(sorted(want.parameters.items())),
        pooler=tuple(sorted(want.pooler.items())) if want.pooler is not None else (),
        room=(
            (visit.say(say("data")), visit.say.size(room.data)),
            (visit.say(say("write-ahead log")), visit.say.size(room.wal)),
            (visit.say(say("logs")), visit.say.size(room.logs)),
            (visit.say(say("free on the disk")), visit.say.size(room.free)),
        ),
        full=room.free < room.total / 10,
        operations=latest,
        trouble=latest[0].error if latest and seen.status in ("down", "error") else "",
        programs=_programs(visit, want),
        created=(visit.say.moment(born), visit.say.iso(born)) if born else ("", ""),
        fix=urls.act(want.name, "repair") if seen.status in ("down", "error") else "",
        numbers=_numbers(visit, want.id, want.name) if seen.status in ("running", "updating") else (),
    )
    return Shown("overview.html", page, say("{name}", name=want.name), tab="overview", head=top)


def _programs(visit: Visit, want: Instance) -> tuple[Program, ...]:
    """Return what serves the instance, with what is published of each; no program is run for it, and nobody is logged in to."""
    newer = {each.name: each.installed for each in compose.older(visit.desk.home, want)}
    return tuple(
        Program(
            TITLES[each.name],
            each.program.version,
            sum(weak.prevented is None for weak in weaknesses(each.name, each.program)),
            newer.get(each.name, "") if each.name != "openssl" else "",
        )
        for each in compose.programs(visit.desk.home, want)
    )


def _numbers(visit: Visit, instance_id: str, name: str) -> tuple[tuple[str, str, str], ...]:
    latest = visit.desk.samples.latest(instance_id)
    if not latest:
        return ()
    more = urls.tab(name, "monitoring")
    rows = [
        (visit.say(say("Direct connections")), visit.say.number(latest.get("direct")), more),
        (visit.say(say("Transactions a second")), visit.say.number(latest.get("tps"), 1), more),
        (visit.say(say("Database size")), visit.say.size(latest.get("size")), more),
    ]
    if latest.get("clients") is not None:
        rows.insert(1, (visit.say(say("Pooled clients")), visit.say.number(latest.get("clients")), more))
        rows.insert(2, (visit.say(say("Waiting")), visit.say.number(latest.get("waiting")), more))
    return tuple(rows)
