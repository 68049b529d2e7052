"""The guard of a PAUSE: left behind by whoever pauses a PgBouncer, it lets the clients go on when that process dies, or at a deadline.

A PAUSE outlives whoever asked for it (SUSPEND does not): without a guard, one kill -9 in the middle of a restart holds every client
until query_wait_timeout. It runs as PgBouncer's own user with the standard library only (`python3 -I -S guard.py SOCKET PIDFD SECONDS`,
Python 3.9 or later), from a copy in the generation's directory, and is ended by SIGTERM when it is not needed any more. It says one
line when it is on guard. It knows no other command than RESUME: what else the dead process left half-done is for the next pass.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time

ANSWER_SECONDS = 2.0
TRYING_SECONDS = 15.0
BETWEEN_SECONDS = 0.05
PROTOCOL_3_0 = 196608
LOGIN = b"user\0pgbouncer\0database\0pgbouncer\0application_name\0howdah guard\0\0"
RESUME = b"RESUME\0"


def exactly(stream: socket.socket, count: int) -> bytes:
    """Read so many bytes; an end before them is an error."""
    read = b""
    while len(read) < count:
        more = stream.recv(count - len(read))
        if not more:
            raise ConnectionError("closed")
        read += more
    return read


def until_ready(stream: socket.socket) -> None:
    """Read messages until PgBouncer waits for the next command; that it refuses one, for nothing is paused, is as good."""
    kind = b""
    while kind != b"Z":
        head = exactly(stream, 5)
        kind = head[:1]
        exactly(stream, int.from_bytes(head[1:], "big") - 4)


def resume(path: str) -> None:
    """Tell the PgBouncer at this socket to go on; OSError when it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(ANSWER_SECONDS)
        stream.connect(path)
        stream.sendall(struct.pack("!ii", 8 + len(LOGIN), PROTOCOL_3_0) + LOGIN)
        until_ready(stream)
        stream.sendall(b"Q" + struct.pack("!i", 4 + len(RESUME)) + RESUME)
        until_ready(stream)


def main(path: str, parent: int, seconds: float) -> None:
    """Wait for the end of the process behind the pidfd `parent`, at most `seconds`; then resume, and try again while nobody answers."""
    os.write(1, b"on guard\n")
    os.close(1)
    waiting = select.poll()
    waiting.register(parent, select.POLLIN)
    waiting.poll(seconds * 1000)
    deadline = time.monotonic() + TRYING_SECONDS
    while time.monotonic() < deadline:
        try:
            resume(path)
        except OSError:  # a PgBouncer that died is started again by its keeper, and not paused then
            time.sleep(BETWEEN_SECONDS)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
