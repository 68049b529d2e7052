"""A crowd that stays: thousands of TLS sessions through the pooler, most of them idle, one at random asked a question now and then.

`python -m bench.crowd [CLIENTS]` makes an instance, lets them in, and tells how quickly those already there are answered: while nothing
else happens, while a storm of new clients logs in, and while hundreds stall in the middle of their handshake; and what a client costs the
pooler in memory and processor time. The clients live in a process of their own and speak libpq by ctypes, whose threads run side by side.
What is told is cut into windows by whoever watches. It judges nothing, and lets nobody in any more after three minutes.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.apart import Apart, apart
from bench.load import Tally
from bench.logins import libpq

_CONNECTION_OK, _TUPLES_OK = 0, 2  # libpq-fe.h
_THREADS, _ASKERS = 24, 2
_PAUSE = 0.01
_GROWING_SECONDS = 180.0
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
_HALF_HELLO = bytes.fromhex("160301020001 0001fc0303") + bytes(40)  # the beginning of a ClientHello of 512 bytes


@dataclass
class Grown:
    """How it went to let clients in: how many are there now, how many seconds it took, and who was not let in, with the first reasons."""

    held: int = 0
    seconds: float = 0.0
    failed: int = 0
    words: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = f" {self.words}" if self.words else ""
        return f"{self.held} clients there after {self.seconds:.1f} s, {self.failed} not let in{words}"


@dataclass
class Asked:
    """How those already there were answered in one stretch of time."""

    name: str
    seconds: float = 0.0
    answers: Tally = field(default_factory=Tally)

    def __str__(self) -> str:
        told = self.answers
        words = f" {told.words}" if told.words else ""
        times = f"p50 {told.part(0.5):.1f} ms, p99 {told.part(0.99):.1f} ms, longest {told.longest:.0f} ms"
        return f"{self.name}: {told.done} answers in {self.seconds:.1f} s, {told.failed} failed{words}, {times}"


# ------------------------------------------------------------------------------------------ the side of whoever watches


class Crowd:
    """A crowd of clients."""

    def __init__(self, clients: Apart) -> None:
        self._clients = clients

    def grow(self, clients: int) -> Grown:
        """Let so many more in, as fast as they are let in."""
        return Grown(**self._clients.ask({"grow": clients}))

    @contextmanager
    def window(self, name: str) -> Iterator[Asked]:
        """Count what happens meanwhile by itself."""
        self._clients.ask({"window": True})
        told = Asked(name)
        yield told
        found = self._clients.ask({"window": True})
        told.seconds, told.answers = found["seconds"], Tally(**found["answers"])

    def quiet(self, name: str, seconds: float) -> Asked:
        """Return how they are answered while nothing else happens."""
        with self.window(name) as told:
            time.sleep(seconds)
        return told


@contextmanager
def crowd(where: str) -> Iterator[Crowd]:
    """Have a crowd at a connection string, of nobody yet; it leaves with the block."""
    with apart("bench.crowd", "--be-the-clients", where) as clients:
        yield Crowd(clients)


@contextmanager
def stalled(address: str, port: int, clients: int) -> Iterator[list[socket.socket]]:
    """Hold connections that began a handshake and never go on with it."""
    with ExitStack() as held:
        sockets = []
        for _ in range(clients):
            each = held.enter_context(socket.create_connection((address, port), timeout=30))
            each.sendall(_SSL_REQUEST)
            assert each.recv(1) == b"S"
            each.sendall(_HALF_HELLO)
            sockets.append(each)
        yield sockets


@dataclass
class Told:
    """What was seen of one pooler."""

    let_in: Grown
    windows: list[Asked]
    storm: Grown
    stalled: int
    bytes_each: float  # of the pooler's memory, for an idle client
    processor_each: float  # milliseconds of the pooler's processor time, for a login

    def __str__(self) -> str:
        cost = (
            f"an idle client costs the pooler {self.bytes_each / 1024:.1f} KiB, a login {self.processor_each:.2f} ms of its processor time"
        )
        return "\n".join([str(self.let_in), f"storm: {self.storm}", f"stalled half-way: {self.stalled}", *map(str, self.windows), cost])


def measure(where: str, address: str, port: int, pids: list[int], sizes: tuple[int, int, int], seconds: float = 5.0) -> Told:
    """Let a crowd in, then a storm, then those who stall, and tell how those already there fared; `sizes` of each, `pids` of the pooler."""
    clients, storm, half = sizes
    with crowd(where) as first, crowd(where) as second:
        memory, processor = used(pids)
        let_in = first.grow(clients)
        more_memory, more_processor = used(pids)
        windows = [first.quiet("control", seconds)]
        with first.window(f"while {storm} log in") as window:
            came = second.grow(storm)
        windows += [window, first.quiet("control", seconds)]
        with stalled(address, port, half) as sockets:
            windows.append(first.quiet(f"while {half} stall", seconds))
        windows.append(first.quiet("control", seconds))
        each = max(let_in.held, 1)
        return Told(let_in, windows, came, len(sockets), (more_memory - memory) / each, (more_processor - processor) / each)


def used(pids: list[int]) -> tuple[float, float]:
    """Return the memory that processes have resident, in bytes, and the processor time that they have used, in milliseconds."""
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    memory = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return memory, sum(int(each[11]) + int(each[12]) for each in fields) * 1000 / tick


# ------------------------------------------------------------------------------------------ the side of the clients


class _Clients:
    """All clients of one crowd, and the window that answers are counted into."""

    def __init__(self, where: str) -> None:
        self._where, self._library = where.encode(), libpq()
        self._sessions: list[int] = []
        self._lock = threading.Lock()
        self._answers, self._since = Tally(), time.monotonic()

    def begin(self) -> Self:
        """Begin to ask, as soon as somebody is there."""
        for number in range(_ASKERS):
            threading.Thread(target=self._ask_on, args=(number,), daemon=True).start()
        return self

    def cut(self) -> dict[str, Any]:
        """Begin a new window; return the last."""
        with self._lock:
            past, self._answers = self._answers, Tally()
            now = time.monotonic()
            seconds, self._since = now - self._since, now
        return {"seconds": seconds, "answers": dataclasses.asdict(past)}

    def grow(self, clients: int) -> dict[str, Any]:
        """Let so many in."""
        told, began, left = Grown(), time.monotonic(), iter(range(clients))
        threads = [threading.Thread(target=self._let_in, args=(told, left, began + _GROWING_SECONDS)) for _ in range(_THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        told.held, told.seconds = len(self._sessions), time.monotonic() - began
        return dataclasses.asdict(told)

    def _let_in(self, told: Grown, left: Iterator[int], until: float) -> None:
        library = self._library
        while True:
            with self._lock:
                if next(left, None) is None or time.monotonic() > until:
                    return
                if (held := len(self._sessions)) % 1000 == 999:
                    print(f"{held + 1} clients are in", file=sys.stderr, flush=True)
            session = library.PQconnectdb(self._where)
            good = library.PQstatus(ctypes.c_void_p(session)) == _CONNECTION_OK
            with self._lock:
                if good:
                    self._sessions.append(session)
                    continue
                told.failed += 1
                words = (library.PQerrorMessage(ctypes.c_void_p(session)) or b"").decode(errors="replace").strip()
                if words not in told.words and len(told.words) < 5:
                    told.words.append(words)
            library.PQfinish(ctypes.c_void_p(session))

    def _ask_on(self, number: int) -> None:
        """Ask a session of our own share, one at random, again and again."""
        chosen = random.Random(number)
        while True:
            time.sleep(_PAUSE)
            with self._lock:
                count = len(self._sessions) // _ASKERS
                session = self._sessions[chosen.randrange(count) * _ASKERS + number] if count else None
            if session is not None:
                self._ask(ctypes.c_void_p(session))

    def _ask(self, session: ctypes.c_void_p) -> None:
        library, began = self._library, time.monotonic()
        answer = ctypes.c_void_p(library.PQexec(session, b"SELECT 1"))
        took = (time.monotonic() - began) * 1000
        good = library.PQresultStatus(answer) == _TUPLES_OK
        library.PQclear(answer)
        with self._lock:
            if good:
                self._answers.good(took)
            else:
                self._answers.bad((library.PQerrorMessage(session) or b"").decode(errors="replace").strip())


def _be_the_clients(where: str) -> None:
    """Be the clients: one order a line of standard input, each answered by one line."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = _Clients(where).begin()
    with suppress(BrokenPipeError):
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(clients.grow(order["grow"]) if "grow" in order else clients.cut()), flush=True)
    os._exit(0)  # the askers never stop by themselves, and nobody says goodbye


def main(clients: int) -> None:
    """Make an instance, let a crowd in, and print what was seen."""
    from bench.pooled import instance

    with instance(max_client_conn=clients + 3000) as bed:
        pids = bed.pooler_pids()
        print(
            measure(bed.where("pooled", sslmode="require"), "127.0.0.1", bed.port("pooled"), pids, (clients, clients // 5, clients // 20))
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--be-the-clients"]:
        _be_the_clients(sys.argv[2])
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it started is ended
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
