"""PgBouncer's admin console over its unix socket: one connection, simple queries, every cell nullable text, every wait bounded.

PgBouncer lets the user `pgbouncer` in without a password when the caller has its own uid; root is not that uid, so root connects from
a thread whose effective uid alone is changed. The few messages needed are spoken here and not by libpq, for three reasons: importing
psycopg costs 150 ms, which a command that only looks does not have; no PG* variable, service file or passfile can reach in; and a
PgBouncer that is stopped (SIGSTOP) or busy cannot hold us beyond the one time limit of each exchange.
Nothing here knows what the commands mean.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Failed, Refusal, Unavailable, Unsupported
from howdah.phrase import say

ANSWER_SECONDS = 2.0
SOCKET_PATH_LIMIT = 107
PROTOCOL_3_0 = 196608
# The raw call changes the calling thread alone; glibc's setresuid(), and os.seteuid() with it, changes every thread of the process.
SETRESUID = {"x86_64": 117, "aarch64": 147, "riscv64": 147, "loongarch64": 147, "ppc64le": 164, "s390x": 208}

Row = dict[str, str | None]


def socket_path(directory: Path, port: int) -> Path:
    """Return the console's socket; refuse a path beyond 107 bytes, which PgBouncer would silently cut off."""
    path = directory / f".s.PGSQL.{port}"
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise Unsupported(
            "socket_path_too_long",
            say("cannot use the socket {path}: it is longer than {limit} bytes", path=path, limit=SOCKET_PATH_LIMIT),
            say("choose a shorter state directory"),
        )
    return path


@contextlib.contextmanager
def console(path: Path, *, uid: int, seconds: float = ANSWER_SECONDS) -> Iterator[Console]:
    """Enter the console at this socket, of a PgBouncer that runs as `uid`; `Unavailable` when it does not let us in within `seconds`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(seconds)
        entered = Console(path, stream, bytearray())
        entered.enter(uid, time.monotonic() + seconds)
        yield entered
        with contextlib.suppress(OSError):
            stream.sendall(b"X\0\0\0\4")


@dataclass(frozen=True)
class Console:
    """An open connection to one PgBouncer's console; get one from `console()`."""

    path: Path
    stream: socket.socket
    unread: bytearray

    def ask(self, command: str, *, seconds: float = ANSWER_SECONDS) -> list[Row]:
        """Run one console command and return its rows by column name; a refused command raises `Failed` with PgBouncer's words."""
        deadline = time.monotonic() + seconds
        self.begin(command, seconds=seconds)
        names: list[str] = []
        rows: list[Row] = []
        refused: str | None = None
        while (message := self._message(deadline))[0] != b"Z":
            kind, body = message
            if kind == b"T":
                names = _names(body)
            elif kind == b"D":
                rows.append(dict(zip(names, _cells(body), strict=True)))
            elif kind == b"E":
                refused = _words(body)
        if refused is not None:
            raise Failed("console_refused", say("cannot run {command}: {reason}", command=command, reason=refused))
        return rows

    def begin(self, command: str, *, seconds: float = ANSWER_SECONDS) -> None:
        """Send one console command without waiting for its answer; nothing further can be asked here after it."""
        text = command.encode() + b"\0"
        self._send(b"Q" + struct.pack("!i", 4 + len(text)) + text, time.monotonic() + seconds)

    def enter(self, uid: int, deadline: float) -> None:
        """Connect as that uid and log in; called once, by `console()`."""
        try:
            if uid == os.geteuid():
                self.stream.connect(str(self.path))
            else:
                _connect_as(uid, self.stream, self.path)
        except OSError as error:
            raise self._silent(error) from error
        fields = b"user\0pgbouncer\0database\0pgbouncer\0application_name\0howdah\0\0"
        self._send(struct.pack("!ii", 8 + len(fields), PROTOCOL_3_0) + fields, deadline)
        while (message := self._message(deadline))[0] != b"Z":
            kind, body = message
            if kind == b"E":
                raise self._silent(_words(body))
            if kind == b"R" and body != b"\0\0\0\0":
                raise self._silent("it asks for a password: it runs under another user, or not as we configure it")

    def _send(self, message: bytes, deadline: float) -> None:
        try:
            self.stream.settimeout(max(0.001, deadline - time.monotonic()))
            self.stream.sendall(message)
        except OSError as error:
            raise self._silent(error) from error

    def _message(self, deadline: float) -> tuple[bytes, bytes]:
        head = self._exactly(5, deadline)
        return head[:1], self._exactly(int.from_bytes(head[1:], "big") - 4, deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self.unread) < count:
            try:
                self.stream.settimeout(max(0.001, deadline - time.monotonic()))
                read = self.stream.recv(65536)
            except OSError as error:
                raise self._silent(error) from error
            if not read:
                raise self._silent("it closed the connection")
            self.unread.extend(read)
        taken = bytes(self.unread[:count])
        del self.unread[:count]
        return taken

    def _silent(self, reason: OSError | str) -> Refusal:
        if isinstance(reason, TimeoutError):
            reason = "it does not answer within the time limit"
        words = reason if isinstance(reason, str) else reason.strerror or str(reason)
        return Unavailable("console_silent", say("cannot reach PgBouncer's console at {path}: {reason}", path=self.path, reason=words))


def _names(body: bytes) -> list[str]:
    """Read a RowDescription: after each name stand 18 bytes of type that a console does not need."""
    names = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.index(b"\0", at)
        names.append(body[at:end].decode(errors="replace"))
        at = end + 1 + 18
    return names


def _cells(body: bytes) -> list[str | None]:
    """Read a DataRow: each cell is its length, -1 for NULL, and its text."""
    cells: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        length = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        cells.append(None if length < 0 else body[at : at + length].decode(errors="replace"))
        at += max(length, 0)
    return cells


def _words(body: bytes) -> str:
    """Read the message out of an ErrorResponse."""
    fields = {part[:1]: part[1:] for part in body.split(b"\0") if part}
    return fields.get(b"M", b"no reason given").decode(errors="replace")


def _connect_as(uid: int, stream: socket.socket, path: Path) -> None:
    """Connect from a thread that acts as `uid`: the kernel notes the caller's uid at connect(), and PgBouncer asks for that."""
    failures: list[OSError] = []

    def connect() -> None:
        try:
            _act_as(uid)
            stream.connect(str(path))
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
