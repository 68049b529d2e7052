"""How an instance looks from outside its processes: what its ports tell a stranger, and another `howdah` that goes on when we end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from howdah import settings, wire
from howdah.certificate import read_der
from howdah.core.instance import Hop, Instance
from howdah.core.logs import shares
from howdah.core.observed import Wire
from howdah.host import accounts, files, process

_DAY = 86_400.0
_GLANCE_SECONDS = 3.0  # what a column of a list is worth


def seen(want: Instance, hop: Hop) -> Wire | None:
    """Return what a hop tells a stranger; None where there is no such hop."""
    port = want.hop_port(hop)
    if port is None:
        return None
    user, database = anyone(want)
    knock = wire.knock(wire.dial(want.reach(hop).listen[0]), port, user=user, database=database)
    return Wire(knock.answers, knock.plaintext_refused, knock.serial, knock.error, knock.lax)


def anyone(want: Instance) -> tuple[str, str]:
    """Return a user, with a database of his, as whom a stranger may knock; the probe, whom nobody lets in, where there is none."""
    return next(((user.name, user.databases[0]) for user in want.users if user.databases), (wire.PROBE_USER, wire.PROBE_DATABASE))


def days_left(want: Instance, hop: Hop) -> float | None:
    """Return the days left of the certificate that a hop serves; None where TLS is not spoken."""
    if not want.tls:
        return None
    found = wire.handshake(wire.dial(want.reach(hop).listen[0]), want.hop_port(hop) or 0, seconds=_GLANCE_SECONDS)
    return round((read_der(found.der).not_after - time.time()) / _DAY, 1) if found.serial else None


def served_serial(want: Instance, hop: Hop) -> str:
    """Return the serial of the certificate that a hop serves; empty where TLS is not spoken."""
    if not want.tls:
        return ""
    return wire.handshake(wire.dial(want.reach(hop).listen[0]), want.hop_port(hop) or 0, seconds=_GLANCE_SECONDS).serial


def detached(home: Path) -> Callable[[Sequence[str]], None]:
    """Return how another `howdah` is started that outlives this one, on the same state."""

    def start(arguments: Sequence[str]) -> None:
        log = home / "log"
        files.make_parents(log)
        files.turn(log / "detached.log", shares(settings.log_bytes()).howdah)
        kept = {name: value for name, value in os.environ.items() if name.startswith("HOWDAH_") and name != "HOWDAH_ADMIN_PASSWORD"}
        environment = {**accounts.CLEAN_ENVIRONMENT, **kept, "HOWDAH_HOME": str(home), "HOME": os.environ.get("HOME", "/")}
        argv = [sys.executable, "-P", "-m", "howdah", *arguments]
        process.spawn(argv, env=environment, stdout=log / "detached.log", stderr=log / "detached.log")

    return start
