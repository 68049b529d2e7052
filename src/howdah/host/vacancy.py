"""End a PgBouncer only while nobody is in it, not even a client that came a moment ago.

Between a look and an end somebody may log in: at a port that is given up, nobody else gets the logins. No command of the console closes
that gap in every version (SUSPEND went with 1.26, SHUTDOWN WAIT_FOR_CLIENTS came with 1.23). So the process is halted, its connections are
counted from outside, and it is killed where it stands, or goes on. Whoever was not accepted by then never got in. Should we die in
between, it stands still; the next pass comes here again, and lets it go on.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from howdah.host import pgbouncer, process
from howdah.host.keeper import listening
from howdah.host.pgbouncer import Running
from howdah.host.process import Process

_SECONDS = 3.0
_CLOSE_WAIT = "08"  # include/net/tcp_states.h
_HANGS_SECONDS = 10.0  # a busy machine answers late, and whoever is in must not pay for that


def end_empty(directory: Path) -> bool:
    """End a generation's processes if nobody is in it, or it hangs; tell whether they were ended, or there were none."""
    alive = pgbouncer.quick_look(directory)
    if alive.member is not None:
        with _still(alive.member):
            engaged = _connections(alive.member.pid) > 0
            if not engaged:
                _end(alive)
        if engaged and pgbouncer.look(directory, seconds=_HANGS_SECONDS).reachable:
            return False
    return True


def _end(alive: Running) -> None:
    if alive.keeper is not None:  # it would start another
        process.stop(alive.keeper, signal.SIGTERM, _SECONDS)
    if alive.member is not None:
        process.stop(alive.member, signal.SIGKILL, _SECONDS)


@contextlib.contextmanager
def _still(member: Process) -> Iterator[None]:
    """Halt a process while this lasts."""
    process.send(member, signal.SIGSTOP)
    try:
        process.wait_until(lambda: process.halted(member.pid) or not process.alive(member), _SECONDS)
        yield
    finally:
        process.send(member, signal.SIGCONT)


def _connections(pid: int) -> int:
    """Count the clients that a process has: its sockets but those that listen, those of this machine's own kind, and those that a client
    has left while the process reads nothing of them (CLOSE_WAIT), which it may hold until client_login_timeout.
    """
    held = {found[len("socket:[") : -1] for found in process.opened(pid) if found.startswith("socket:[")}
    listeners = {str(inode) for family in (socket.AF_INET, socket.AF_INET6) for *_, inode in listening(family)}
    local = {line.split()[6] for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]}
    engaged = held - listeners - local
    return len(engaged - _left()) if engaged else 0


def _left() -> set[str]:
    """Return the inodes of the sockets whose other end has closed: its last byte was sent, and nobody waits there for an answer."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in _table(Path("/proc/net", name))]
    return {fields[9] for fields in lines if fields[3] == _CLOSE_WAIT}


def _table(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return []
