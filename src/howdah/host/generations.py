"""The row of a pooler's generations as it is: who lives, who serves whom, which files lie there, who is connected; and who gets the logins.

What one generation is, and how it is driven, lies in `pgbouncer` and `admin`. Nothing here starts or ends one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from howdah.core.instance import PROBE_ROLE
from howdah.core.lanes import Lane
from howdah.core.layout import Layout
from howdah.core.observed import FileSeen, Generation, Session
from howdah.errors import Refusal
from howdah.host import admin, disk, pgbouncer, process, steering


def living(layout: Layout) -> set[int]:
    """Return the numbers of the generations that have a process, also where the directory was removed."""
    start = os.path.realpath(layout.pool) + "/g"
    places = {place[len(start) :].partition(".")[0] for place in process.standing() if place.startswith(start)}
    return {int(number) for number in places if number.isdigit()}


def present(layout: Layout) -> list[int]:
    """Return the numbers of the generations that have a directory or a process: one whose directory was removed still serves."""
    return sorted({*pgbouncer.numbers(layout.pool), *living(layout)})


def row(layout: Layout) -> tuple[Generation, ...]:
    """Look at every generation."""
    return tuple(_generation(layout, number) for number in present(layout))


def _generation(layout: Layout, number: int) -> Generation:
    directories = pgbouncer.lanes(layout.pool, number)
    seen = [pgbouncer.look(each) for each in directories]
    first, members = seen[0], [each.member for each in seen if each.member is not None]
    clients = [client for each in seen if each.reachable for client in heard(each.directory)]
    config, *further = ({name: value for name, (value, _) in each.config.items()} for each in seen)
    return Generation(
        number=number,
        keeper=all(each.keeper is not None for each in seen),
        proven=first.steering or (first.taken and not numbers_before(layout, number)),
        steered=(present(layout) == [number] and not further) or steering.holds(directories[0]),
        alive=len(members) == len(seen),
        reachable=all(each.reachable for each in seen),
        identity=",".join(f"{each.pid}-{each.started}" for each in members),
        version=min(each.version for each in seen),
        files=_files(layout, directories),
        config=config,
        further=tuple(further),
        fixed=frozenset(name for name, (_, changeable) in first.config.items() if not changeable),
        routes=frozenset((each.host, each.port) for lane in seen for each in lane.databases if each.host),
        loaded=" ".join(each.digest for each in seen),
        replaced=tuple(sorted({name for each in members for name in process.replaced(each.pid)})),
        addresses=first.plan.addresses if first.plan else (),
        bounded=all(pgbouncer.bounded(each.plan) for each in seen),
        halted=tuple(dict.fromkeys(name for each in seen for name in (*each.halted, *(("*",) if each.paused else ())))),
        clients=tuple(session for session, _ in clients),
        plaintext=tuple(session for session, tls in clients if not tls and session.address != "unix"),
    )


def numbers_before(layout: Layout, number: int) -> list[int]:
    """Return the generations older than this one."""
    return [each for each in present(layout) if each < number] if number > 1 else []


def _files(layout: Layout, directories: Sequence[Path]) -> Mapping[str, FileSeen]:
    paths = {Lane(0, each, 0).file: directory / "pgbouncer.ini" for each, directory in enumerate(directories, 1)}
    paths |= {path.name: path for path in layout.pool.glob("hba.*")}
    return {name: found for name, path in paths.items() if (found := disk.seen_file(path)) is not None}


def sessions(layout: Layout) -> tuple[tuple[Session, str], ...]:
    """Return every client's session, each beside the protocol and cipher by which its pooler sees it encrypted, '' for one in clear."""
    return tuple(found for directory in pgbouncer.directories(layout.pool) for found in _asked(directory))


def heard(directory: Path) -> list[tuple[Session, str]]:
    try:
        return _asked(directory)
    except Refusal:
        return []  # it went silent between two looks: the next pass sees that


def _asked(directory: Path) -> list[tuple[Session, str]]:
    found = admin.clients(directory)
    # "(nouser)" is a connection that has not said who it is (objects.c): no session yet, and perhaps on its way to TLS
    return [(_session(each), each.tls) for each in found if each.user not in (PROBE_ROLE, "(nouser)")]


def _session(client: admin.Client) -> Session:
    identity = client.id or str(client.port)
    application = client.application_name.removesuffix(f" - {client.address}:{client.port}")  # application_name_add_host
    return Session("pooled", client.user, client.database, application, client.address, identity, client.since)


def steer(layout: Layout, number: int) -> None:
    """Send new logins to a generation, by turns to its processes."""
    steering.steer(pgbouncer.lanes(layout.pool, number))
