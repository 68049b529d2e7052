"""A storm of logins: as many clients as there are threads log in, ask one question and leave, again and again, as fast as they are let in.

It runs as a process of its own, and speaks libpq itself (by ctypes, which lets other threads run meanwhile): with a verifier of few rounds
(`verifier` makes one) a login then costs the client little enough that both sides fit onto a small machine. What is told is cut into
windows, so that a control, in which nothing happens, stands beside each measurement: its rate is what this machine holds in that
minute. It judges nothing.
"""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench.apart import Apart, apart
from bench.load import Tally

_ANSWER_SECONDS = 60
_CONNECTION_OK, _TUPLES_OK = 0, 2  # libpq-fe.h
_KEPT_TIMES = 20_000


@dataclasses.dataclass
class Blow:
    """One stretch of the storm."""

    name: str
    seconds: float = 0.0
    logins: Tally = dataclasses.field(default_factory=Tally)

    @property
    def rate(self) -> float:
        """Logins a second."""
        return self.logins.done / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        told = self.logins
        words = f" {told.words}" if told.words else ""
        most = f"p99 {told.part(0.99):.0f} ms, longest {told.longest:.0f} ms"
        return f"{self.name}: {told.done} logins in {self.seconds:.1f} s, {self.rate:.0f} a second, {told.failed} failed{words}, {most}"


def verifier(password: str, rounds: int = 256) -> str:
    """Return a SCRAM verifier (RFC 5803, as PostgreSQL writes it) that costs a client less than the usual 4096 rounds."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    code = {name: base64.b64encode(each).decode() for name, each in (("salt", salt), ("stored", stored), ("server", server))}
    return f"SCRAM-SHA-256${rounds}:{code['salt']}${code['stored']}:{code['server']}"


# ------------------------------------------------------------------------------------------ the side of whoever watches


class Storm:
    """A storm under way."""

    def __init__(self, clients: Apart) -> None:
        self._clients = clients

    @contextmanager
    def window(self, name: str, *, settle: float = 0.3) -> Iterator[Blow]:
        """Count what happens meanwhile by itself; filled when it ends, `settle` seconds after the act."""
        self._clients.ask({"window": name})
        told = Blow(name)
        yield told
        time.sleep(settle)
        found = self._clients.ask({"window": ""})
        told.seconds, told.logins = found["seconds"], Tally(**found["logins"])

    def control(self, seconds: float) -> Blow:
        """Return what the storm is like while nothing happens."""
        with self.window("control", settle=seconds) as told:
            pass
        return told


@contextmanager
def storm(where: str, threads: int = 24) -> Iterator[Storm]:
    """Have logins storm a connection string, from the moment when the first was let in; it ends with the block, whatever happens."""
    with apart("bench.logins", str(threads)) as clients:
        clients.ask({"where": where})
        yield Storm(clients)


# ------------------------------------------------------------------------------------------ the side of the clients


def libpq() -> ctypes.CDLL:
    """Return the C client, whose calls let other threads run meanwhile."""
    library = ctypes.CDLL("libpq.so.5")
    for name in ("PQconnectdb", "PQexec"):
        getattr(library, name).restype = ctypes.c_void_p
    library.PQerrorMessage.restype = ctypes.c_char_p
    return library


class _Clients:
    """All clients of one storm, and the window that they count into."""

    def __init__(self, where: str) -> None:
        self._where, self._library = where.encode(), libpq()
        self._lock = threading.Lock()
        self._window, self._since = Blow(""), time.monotonic()
        self.first = threading.Event()

    def begin(self, threads: int) -> None:
        """Start every client, and return when the first was let in."""
        for _ in range(threads):
            threading.Thread(target=self._log_in_on, daemon=True).start()
        self.first.wait(_ANSWER_SECONDS)

    def cut(self, name: str) -> Blow:
        """Begin a new window; return the last."""
        with self._lock:
            past, self._window = self._window, Blow(name)
            now = time.monotonic()
            past.seconds, self._since = now - self._since, now
        past.logins.times = past.logins.times[-_KEPT_TIMES:]
        return past

    def _log_in_on(self) -> None:
        while True:
            began = time.monotonic()
            words = self._log_in()
            took = (time.monotonic() - began) * 1000
            with self._lock:
                if words is None:
                    self._window.logins.good(took)
                else:
                    self._window.logins.bad(words)
            self.first.set()

    def _log_in(self) -> str | None:
        """Log in, ask, leave; return why that was refused, or None."""
        library = self._library
        session = ctypes.c_void_p(library.PQconnectdb(self._where))
        try:
            if library.PQstatus(session) != _CONNECTION_OK:
                return _words(library.PQerrorMessage(session))
            answer = ctypes.c_void_p(library.PQexec(session, b"SELECT 1"))
            good = library.PQresultStatus(answer) == _TUPLES_OK
            library.PQclear(answer)
            return None if good else _words(library.PQerrorMessage(session))
        finally:
            library.PQfinish(session)


def _words(text: bytes | None) -> str:
    return (text or b"no reason").decode(errors="replace").strip()


def main() -> None:
    """Be the clients: where to on the first line of standard input, then one order a line; each is answered by one line."""
    clients = _Clients(json.loads(sys.stdin.readline())["where"])
    clients.begin(int(sys.argv[1]))
    print(json.dumps({"begun": True}), flush=True)
    with suppress(BrokenPipeError):
        for line in sys.stdin:
            print(json.dumps(dataclasses.asdict(clients.cut(json.loads(line)["window"]))), flush=True)
    os._exit(0)  # the clients never stop by themselves


if __name__ == "__main__":
    main()
