"""PgBouncer's admin console over its unix socket: one connection, simple queries, every cell nullable text, every wait bounded.

PgBouncer lets the user `pgbouncer` in without a password when the caller has its own uid; root is not that uid, so root connects from
a thread whose effective uid alone is changed. A PgBouncer that is stopped (SIGSTOP) or busy cannot hold us beyond the one time limit of
each exchange. Nothing here knows what the commands mean.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from howdah import protocol
from howdah.errors import Failed, Refusal, Unavailable
from howdah.phrase import say
from howdah.protocol import Message, Stream

# A PgBouncer that is halted is seen without asking. One that does not answer for as long as this is replaced: a busy machine is no reason.
ANSWER_SECONDS = 10.0
# The raw call changes the calling thread alone; glibc's setresuid(), and os.seteuid() with it, changes every thread of the process.
SETRESUID = {"x86_64": 117, "aarch64": 147, "riscv64": 147, "loongarch64": 147, "ppc64le": 164, "s390x": 208}

Row = dict[str, str | None]


@contextlib.contextmanager
def console(path: Path, *, uid: int, seconds: float = ANSWER_SECONDS) -> Iterator[Console]:
    """Enter the console at this socket, of a PgBouncer that runs as `uid`; `Unavailable` when it does not let us in within `seconds`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        entered = Console(path, Stream(stream))
        entered.enter(uid, time.monotonic() + seconds)
        yield entered
        with contextlib.suppress(OSError):
            stream.sendall(protocol.message(b"X"))


@dataclass(frozen=True)
class Console:
    """An open connection to one PgBouncer's console; get one from `console()`."""

    path: Path
    stream: Stream

    def ask(self, command: str, *, seconds: float = ANSWER_SECONDS) -> list[Row]:
        """Run one console command and return its rows by column name; a refused command raises `Failed` with PgBouncer's words."""
        deadline = time.monotonic() + seconds
        self.begin(command, seconds=seconds)
        return self.answer(command, deadline)

    def answer(self, command: str, deadline: float) -> list[Row]:
        """Return the answer to a command that was begun, by the deadline (of the monotonic clock)."""
        names: list[str] = []
        rows: list[Row] = []
        refused: str | None = None
        while (message := self._message(deadline))[0] != b"Z":
            kind, body = message
            if kind == b"T":
                names = [name for name, _ in protocol.columns(body)]
            elif kind == b"D":
                rows.append(dict(zip(names, protocol.cells(body), strict=True)))
            elif kind == b"E":
                refused = _words(body)
        if refused is not None:
            raise Failed("console_refused", say("cannot run {command}: {reason}", command=command, reason=refused))
        return rows

    def begin(self, command: str, *, seconds: float = ANSWER_SECONDS) -> None:
        """Send one console command without waiting for its answer; nothing further can be asked here before `answer`."""
        self._send(protocol.message(b"Q", protocol.text(command)), time.monotonic() + seconds)

    def enter(self, uid: int, deadline: float) -> None:
        """Connect as that uid and log in; called once, by `console()`."""
        try:
            if uid == os.geteuid():
                self.stream.reach(self.path, deadline)
            else:
                _connect_as(uid, self.stream, self.path, deadline)
        except OSError as error:
            raise self._silent(error) from error
        words = [("user", "pgbouncer"), ("database", "pgbouncer"), ("application_name", "howdah")]
        self._send(protocol.startup(words), deadline)
        while (message := self._message(deadline))[0] != b"Z":
            kind, body = message
            if kind == b"E":
                raise self._silent(_words(body))
            if kind == b"R" and body != b"\0\0\0\0":
                raise self._silent("it asks for a password: it runs under another user, or not as we configure it")

    def _send(self, message: bytes, deadline: float) -> None:
        try:
            self.stream.send(message, deadline)
        except OSError as error:
            raise self._silent(error) from error

    def _message(self, deadline: float) -> Message:
        try:
            return self.stream.receive(deadline)
        except (OSError, EOFError) as error:
            raise self._silent(error) from error

    def _silent(self, reason: OSError | EOFError | str) -> Refusal:
        if isinstance(reason, TimeoutError):
            reason = "it does not answer within the time limit"
        words = (isinstance(reason, OSError) and reason.strerror) or str(reason)
        return Unavailable("console_silent", say("cannot reach PgBouncer's console at {path}: {reason}", path=self.path, reason=words))


def _words(body: bytes) -> str:
    return protocol.complaint(body).get("M", "no reason given")


def _connect_as(uid: int, stream: Stream, path: Path, deadline: float) -> None:
    """Connect from a thread that acts as `uid`: the kernel notes the caller's uid at connect(), and PgBouncer asks for that."""
    failures: list[OSError] = []

    def connect() -> None:
        try:
            _act_as(uid)
            stream.reach(path, deadline)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=connect, name="console")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _act_as(uid: int) -> None:
    """Change the effective uid of this thread alone."""
    import ctypes

    number = SETRESUID.get(platform.machine())
    if number is None:
        raise OSError(0, f"no number of setresuid is known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    keep = ctypes.c_long(-1)
    if libc.syscall(ctypes.c_long(number), keep, ctypes.c_long(uid), keep) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
