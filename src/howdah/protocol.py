"""The few messages of PostgreSQL's protocol 3.0 that Howdah speaks: send one, read one, read a row, an error, a description.

Used on PostgreSQL's and on PgBouncer's sockets, by control sessions and consoles (`host.session`, `host.console`) and by a stranger's
questions (`wire`). libpq is not, because importing psycopg costs 150 ms, which each command would pay, and because no PG* variable,
service file or passfile can reach in here. The format is in the manual, "Frontend/Backend Protocol, Message Formats". Every wait has a
deadline; nothing here knows what a statement or a command means. Standard library only.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PROTOCOL_3_0 = 196608
QUEUE_SECONDS = 0.005
_LONGEST_MESSAGE = 2**30

Message = tuple[bytes, bytes]
"""A message's kind, one letter, and its body."""


def startup(words: Iterable[tuple[str, str]]) -> bytes:
    """Return a startup message with these parameters.

    >>> startup([("user", "a")])
    b'\\x00\\x00\\x00\\x10\\x00\\x03\\x00\\x00user\\x00a\\x00\\x00'
    """
    body = b"".join(part.encode() + b"\0" for word in words for part in word) + b"\0"
    return struct.pack("!ii", 8 + len(body), PROTOCOL_3_0) + body


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message as it goes over the wire.

    >>> message(b"S")
    b'S\\x00\\x00\\x00\\x04'
    """
    return kind + struct.pack("!i", 4 + len(body)) + body


def text(words: str) -> bytes:
    """Return text as messages carry it; ValueError for one with a NUL in it, which would end it early."""
    if "\0" in words:
        raise ValueError("text with a NUL character")
    return words.encode() + b"\0"


@dataclass(frozen=True)
class Stream:
    """A connection, read message by message. OSError when it fails or the deadline (of the monotonic clock) passes, EOFError at its end."""

    socket: socket.socket
    _unread: bytearray = field(default_factory=bytearray)

    def reach(self, path: Path, deadline: float) -> None:
        """Connect to a unix socket; where its queue is full, which is told at once (connect(2), EAGAIN), wait for a place in it."""
        while True:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                return self.socket.connect(str(path))
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out") from None
                time.sleep(QUEUE_SECONDS)

    def send(self, messages: bytes, deadline: float) -> None:
        """Send whole messages."""
        self.socket.settimeout(left(deadline))
        self.socket.sendall(messages)

    def receive(self, deadline: float) -> Message:
        """Return the next message."""
        head = self._exactly(5, deadline)
        length = int.from_bytes(head[1:], "big")
        if not 4 <= length <= _LONGEST_MESSAGE:
            raise EOFError("this is not a PostgreSQL server")
        return head[:1], self._exactly(length - 4, deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._unread) < count:
            self.socket.settimeout(left(deadline))
            read = self.socket.recv(65536)
            if not read:
                raise EOFError("it closed the connection")
            self._unread.extend(read)
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken


def left(deadline: float) -> float:
    """Return the seconds until a deadline of the monotonic clock; TimeoutError when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def columns(body: bytes) -> list[tuple[str, int]]:
    """Read a RowDescription: the name of each column, and the oid of its type."""
    found = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.index(b"\0", at)
        # after the name: table oid (4 bytes), attribute number (2), type oid (4), length (2), modifier (4), format (2)
        found.append((body[at:end].decode(errors="replace"), int.from_bytes(body[end + 7 : end + 11], "big")))
        at = end + 19
    return found


def cells(body: bytes) -> list[str | None]:
    """Read a DataRow: each cell is its length, -1 for NULL, and its text."""
    found: list[str | None] = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        length = int.from_bytes(body[at : at + 4], "big", signed=True)
        at += 4
        found.append(None if length < 0 else body[at : at + length].decode(errors="replace"))
        at += max(length, 0)
    return found


def complaint(body: bytes) -> dict[str, str]:
    """Read an ErrorResponse: fields by their letter (C: SQLSTATE, M: message, D: detail, H: hint)."""
    return {part[:1].decode(errors="replace"): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
