"""list and show: what there is, looked at before it is spoken of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from howdah import settings
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.phrase import Phrase, say

Trash = Annotated[bool, typer.Option("--trash", help="deleted instances whose data is still kept")]


@verb("list", example="howdah list --json")
def list_(request: Request, trash: Trash = False) -> None:
    """List the instances. It tells whether each runs, where it is reached, and how long its certificate is good for."""
    if trash:
        return _trash(request)
    from howdah.cli import pages, shapes

    every = request.reading.all()
    request.screen.answer([shapes.instance(seen) for seen in every], lambda: pages.overview(request.screen, every) if every else ())
    if not every:
        request.screen.note(say("there is no instance in {home}; howdah create NAME makes one", home=request.home))
        if (other := other_home()) is not None:
            request.screen.note(other)
    return None


def _trash(request: Request) -> None:
    from howdah.cli import pages, shapes

    keep = settings.trash_seconds()
    rows = [shapes.trashed(entry, keep) for entry in request.reading.trash()]
    titles = pages.heads(request.screen, say("name"), say("version"), say("deleted"), say("removed after"))
    keys = ("name", "version", "deleted", "removed_after")
    lines = pages.table([tuple(str(row[key]) for key in keys) for row in rows], titles)
    request.screen.answer(rows, lambda: lines if rows else ())
    if not rows:
        request.screen.note(say("the trash is empty"))


@verb("show", example="howdah show shop")
def show(request: Request, name: Name) -> None:
    """Show an instance. It tells status, endpoints, certificates, settings, databases, users, room, and its programs with their CVEs."""
    from howdah import compose
    from howdah.cli import pages, shapes, upkeep, versions

    screen, seen = request.screen, request.reading.show(name)
    used, older = compose.programs(request.home, seen.instance), compose.older(request.home, seen.instance)
    room = compose.room(request.home, seen.instance)
    bundle = compose.authority(request.home)
    own = {
        "programs": versions.shape(used),
        "older": upkeep.older_shape(older, seen.instance.name),
        "room": upkeep.room_shape(room),
        "authority": bundle.phase if bundle is not None else None,
    }

    def lines() -> Iterator[str]:
        yield from pages.card(screen, seen, upkeep.older_lines(screen, older, seen.instance.name))
        yield from upkeep.authority_lines(screen, bundle)
        yield from upkeep.room_lines(screen, room)
        yield from versions.lines(screen, used)

    screen.answer(shapes.instance(seen) | own, lines)


def other_home(system: Path = settings.SYSTEM_HOME) -> Phrase | None:
    """Say whose the machine's own instances are, where they are there and another directory is looked at."""
    if settings.home() == system or not system.is_dir():
        return None
    import pwd

    try:
        owner = pwd.getpwuid(system.stat().st_uid).pw_name
    except (KeyError, OSError):
        owner = "?"
    if os.geteuid() == 0:
        return say("{system}, of {owner}, was not looked at: HOWDAH_HOME names another directory", system=system, owner=owner)
    return say("{system} belongs to {owner}: its instances are seen by sudo howdah list", system=system, owner=owner)
