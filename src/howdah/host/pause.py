"""Hold the clients of a pooler back while its server is away: every process of it paused at once, and a guard beside each.

A PAUSE lets running transactions end and makes every further query wait; it outlives whoever asked for it. So a guard is left first, which
resumes when we die or after a minute. Only `held` pauses for the loop. Never database by database: one without connections is not
listed, yet would stay paused. RECONNECT comes before RESUME, so that no connection to the server that was there is lent again; after it,
it would end logins that RESUME has begun, and PgBouncer then refuses everybody for server_login_retry.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from howdah.errors import Failed, Refusal, Unavailable
from howdah.host import admin, files, installed, pgbouncer, process
from howdah.host import guard as guarding
from howdah.host.accounts import Account
from howdah.host.console import Console
from howdah.host.process import Process
from howdah.phrase import say

# Longer than any restart that goes well, shorter than query_wait_timeout (120 s): whom we hold longer had better hear of it
LONGEST_HOLD_SECONDS = 60.0
GUARD_ANSWERS_SECONDS = 20.0


@contextlib.contextmanager
def held(directories: Sequence[Path], *, seconds: float, late: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold every query back at these PgBouncers while this lasts; `Failed` `pause_failed`, and all go on, where transactions do not end.

    With `late` they are given as long again after it was called: it may end those that are still open, and they are the very ones, for
    nobody gets a server connection meanwhile.
    In session mode a client keeps its server connection until it leaves: then the answer to PAUSE is not waited for, and who has a
    connection goes on until that ends.
    """
    with contextlib.ExitStack() as stack:
        consoles = [stack.enter_context(pgbouncer.enter(directory)) for directory in directories]
        keeps = [_mode(asked) == "session" for asked in consoles]
        stack.callback(_let_go, directories, _guards(directories, consoles))
        for asked in consoles:
            asked.begin("PAUSE")
        waiting = [asked for asked, session in zip(consoles, keeps, strict=True) if not session]
        try:
            _paused(waiting, seconds)
        except Failed:
            if late is None:
                raise
            late()
            _paused(waiting, seconds)
        yield
        for directory in directories:
            with contextlib.suppress(Unavailable):  # one that has died meanwhile has no connection
                admin.reconnect(directory)


def _guards(directories: Sequence[Path], consoles: Sequence[Console]) -> list[_Guard]:
    """Leave a guard beside each, all at once; return when they are on guard."""
    guards: list[_Guard] = []
    try:
        guards.extend(_begin_guard(each, asked.path) for each, asked in zip(directories, consoles, strict=True))
        for guard in guards:
            guard.await_duty()
    except Refusal:
        for guard in guards:
            guard.end()
        raise
    return guards


def _let_go(directories: Sequence[Path], guards: Sequence[_Guard]) -> None:
    """Let all go on, then end the guards; where one cannot be told, its guard goes on trying when we have ended."""
    with contextlib.ExitStack() as every:
        for directory, guard in zip(directories, guards, strict=True):
            every.callback(_let_one_go, directory, guard)


def _let_one_go(directory: Path, guard: _Guard) -> None:
    admin.resume(directory)
    guard.end()


def _paused(consoles: list[Console], seconds: float) -> None:
    """Return when each has answered its PAUSE; one that has is not waited for again."""
    deadline = time.monotonic() + seconds
    while consoles:
        try:
            with admin.unless("already"):
                consoles[0].answer("PAUSE", deadline)
        except Refusal as refusal:
            message = say("cannot pause the pooler within {seconds} s: {reason}", seconds=f"{seconds:g}", reason=refusal.message)
            raise Failed("pause_failed", message) from refusal
        consoles.pop(0)


def keeps(directories: Sequence[Path]) -> bool:
    """Tell whether any of these PgBouncers keeps a server connection for a client as long as that stays."""
    for directory in directories:
        with pgbouncer.enter(directory) as asked:
            if _mode(asked) == "session":
                return True
    return False


def _mode(asked: Console) -> str:
    return pgbouncer.show_config(asked).get("pool_mode", ("", True))[0]


class _Guard:
    """A process that resumes one PgBouncer if we die, or after LONGEST_HOLD_SECONDS; it says when it is on guard."""

    def __init__(self, found: Process, said: int) -> None:
        self._process = found
        self._said = said

    def await_duty(self) -> None:
        """Return when it is on guard."""
        waiting = select.poll()  # not select(): who keeps the loop running may have more descriptors than that can take
        waiting.register(self._said, select.POLLIN)
        if not (waiting.poll(GUARD_ANSWERS_SECONDS * 1000) and os.read(self._said, 16)):
            process.stop(self._process, signal.SIGKILL, GUARD_ANSWERS_SECONDS)
            raise Failed("no_guard", say("cannot pause the pooler: the process that would resume it, should we die, does not start"))

    def end(self) -> None:
        """It is not needed any more."""
        os.close(self._said)
        process.stop(self._process, signal.SIGTERM, GUARD_ANSWERS_SECONDS)


def _begin_guard(directory: Path, console_path: Path) -> _Guard:
    seat = directory.stat()
    account = Account(str(seat.st_uid), seat.st_uid, seat.st_gid)
    files.scratch(directory / "guard.py", Path(guarding.__file__).read_bytes(), account)
    said, says = os.pipe()
    ourselves = os.pidfd_open(os.getpid())
    try:
        # Not in the generation's directory: there it would be taken for a member of it
        command = [installed.interpreter(account), "-I", "-S", directory / "guard.py", console_path, ourselves, LONGEST_HOLD_SECONDS]
        return _Guard(process.spawn([str(part) for part in command], account=account, stdout=says, pass_fds=[ourselves]), said)
    except BaseException:
        os.close(said)
        raise
    finally:
        os.close(says)
        os.close(ourselves)
