"""How a generation of the pooler ends: its clients leave, or are counted and go with it, and the newest gets its place among the sockets.

Which generation is to go, and whether its clients may be ended, is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from howdah.core.host import Later, Leaving
from howdah.core.layout import Layout
from howdah.errors import Failed, Refusal
from howdah.host import admin, files, pgbouncer, process, steering, vacancy
from howdah.host.generations import heard, steer
from howdah.phrase import say

# how long a new generation's start waits for the clients of the older one that are about to leave anyway
_LEAVING_SECONDS = 1.0
_CLOSING_SECONDS = 1.0
_BETWEEN_TRIES = 0.05


def retire(layout: Layout, number: int, leaving: Leaving) -> int:
    """End a generation and take its directories away; return how many clients were connected then. `Later` where one came in instead."""
    directories, left = pgbouncer.lanes(layout.pool, number), 0
    for directory in _standing(layout, number, directories):
        # One by one: until the newest is steered to again, those that are left of this generation may be given logins
        if leaving != "now":
            let_leave([directory])
        if leaving == "empty":
            _close_empty(directory)
        else:
            left += len(heard(directory))
            _close(directory)
        _steer_again(layout)
    for directory in reversed(directories):  # the first one last: by it the generation is known
        files.remove(directory)
    return left


def _close_empty(directory: Path) -> None:
    """End a generation at a moment when nobody is in it, or raise `Later`: who still logs in at a port that is given up is never cut."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while not _close(directory, empty=True):
        if time.monotonic() > deadline:
            raise Later("pooler_in_use", say("cannot end an older PgBouncer: clients log in there"))
        time.sleep(_BETWEEN_TRIES)


def _standing(layout: Layout, number: int, directories: Sequence[Path]) -> list[Path]:
    """Return the directories of a generation's processes, also those that were removed while a process works there."""
    start = os.path.realpath(layout.generation(number))
    removed = {Path(place) for place in process.standing() if place.startswith(f"{start}.")}
    return [*directories, *sorted({layout.pool / each.name for each in removed} - {*directories})]


def _close(directory: Path, *, empty: bool = False) -> bool:
    """End a generation, and see its sockets leave: a process that has ended may be listening for a moment yet (Linux 6.18).

    False where it was to be ended `empty`, and is not.
    """
    plan, lived = pgbouncer.read_plan(directory), pgbouncer.quick_look(directory).member is not None
    groups = plan.addresses if plan is not None and lived else ()
    before = [steering.members(group) for group in groups]
    if empty and not vacancy.end_empty(directory):
        return False
    pgbouncer.stop_generation(directory)
    process.wait_until(lambda: all(steering.members(group) < then for group, then in zip(groups, before, strict=True)), _CLOSING_SECONDS)
    return True


def _steer_again(layout: Layout) -> None:
    """Have the newest look for its place, which may be another since one has gone; where it cannot, the next pass sees to it."""
    for newest in pgbouncer.numbers(layout.pool)[-1:]:
        directory = layout.generation(newest)
        if pgbouncer.steering(directory) and not steering.holds(directory):
            with contextlib.suppress(Failed):
                steer(layout, newest)


def let_leave(directories: Sequence[Path]) -> None:
    for directory in directories:
        if pgbouncer.look(directory).reachable:  # else that is why it is replaced
            with contextlib.suppress(Refusal):
                admin.drain(directory, seconds=_LEAVING_SECONDS / len(directories))


def end_plaintext(layout: Layout) -> int:
    """End every pooled session without TLS, one by one, and return how many; needs PgBouncer 1.24."""
    ended = 0
    for directory in pgbouncer.directories(layout.pool):
        for client in admin.clients(directory):
            if not client.tls and client.address != "unix":
                admin.kill_client(directory, client.id)
                ended += 1
    return ended
