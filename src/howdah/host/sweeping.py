"""The sweeper beside each PostgreSQL server: started with it, known by its lock, gone with it. What it does lies in `sweeper`."""

from __future__ import annotations

import signal
from pathlib import Path

from howdah import settings
from howdah.core.layout import Layout
from howdah.core.logs import shares
from howdah.errors import Failed
from howdah.host import files, process, sweeper
from howdah.host.installed import interpreter
from howdah.host.postgres import Seat
from howdah.host.process import Process
from howdah.phrase import say

_END_SECONDS = 2.0
_BEGIN_SECONDS = 20.0
_YOUNG_SECONDS = 0.5


def begin(seat: Seat, server: Process) -> None:
    """See that the sweeper of this very server is alive; one of another server or with another limit is ended first."""
    log = seat.layout.log
    if any(_all(seat.layout)):
        process.wait_until(lambda: swept(seat.layout, server), _YOUNG_SECONDS)  # it may not have got its lock yet
    launch(seat, server)
    if not process.wait_until(lambda: swept(seat.layout, server) or not process.alive(server), _BEGIN_SECONDS):
        last = (process.tail(log / "sweeper.log", 1) or ("it left no words",))[-1]
        raise Failed("sweeper_not_started", say("cannot keep PostgreSQL's logs within their limit: {words}", words=last))


def launch(seat: Seat, server: Process) -> None:
    """Start the sweeper of this very server, and do not wait for it: nobody needs one in a server's first second."""
    if swept(seat.layout, server):
        return
    log = seat.layout.log
    program = log / "sweeper.py"
    end(seat.layout)  # one may live on in a directory that was removed
    files.make_directory(log, 0o700, seat.account)  # somebody may have removed it; PostgreSQL needs it for its next file, too
    files.clear(log / sweeper.LOCK)
    # A copy of it where its user can read it: our own code may lie in /root.
    files.scratch(program, Path(sweeper.__file__).read_bytes(), seat.account)
    files.scratch(log / "sweeper.log", b"", seat.account)
    # Nice, for whoever waits for a server comes first
    command: list[str | Path] = ["nice", interpreter(seat.account), "-I", "-S", *_words(seat.layout, server)]
    process.spawn(command, account=seat.account, cwd=log, stderr=log / "sweeper.log")


def _words(layout: Layout, server: Process) -> tuple[str, ...]:
    room = shares(settings.log_bytes())
    numbers = (server.pid, server.started, room.server_kept, room.server_most)
    return (str(layout.log / "sweeper.py"), str(layout.log), *map(str, numbers))


def swept(layout: Layout, server: Process | None) -> bool:
    """Tell whether a sweeper with today's limit is awake beside this server; one that has just ended needs none."""
    if server is None:
        return True
    found = process.lock_holder(layout.log / sweeper.LOCK)
    return found is not None and not process.halted(found.pid) and process.cmdline(found.pid)[-6:] == _words(layout, server)


def end(layout: Layout) -> None:
    """See that no sweeper is left, also where its lock was removed; beside a server that has ended, it ends by itself."""
    for each in _all(layout):
        process.send(each, signal.SIGCONT)  # one that was halted hears nothing else
        process.stop(each, signal.SIGTERM, _END_SECONDS)


def _all(layout: Layout) -> list[Process]:
    program = str(layout.log / "sweeper.py")
    return [each for each in process.in_directory(layout.log) if program in process.cmdline(each.pid)]
