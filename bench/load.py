"""The load witness: clients through the pooler and others direct that write numbers, each once, and what became of every write.

It runs as a process of its own, so that nothing that whoever watches does at the same time reads as a stall. Each client opens one session
and writes its next number in a transaction of two statements, again and again, after a short pause; one whose session ends opens
another and goes on with the *next* number. Beside them a new client logs in through the pooler every tenth of a second. What is told
is cut into windows by whoever watches, so that a control, in which nothing happens, stands beside each measurement of the same load:
transactions done and failed, sessions that ended, the longest stall: the time between the wish to write and the commit, however many
attempts lie between. At the end the numbers that were acknowledged are compared with those in the table: one that is missing was
lost, one that is there twice was doubled. It judges nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Self

from bench.apart import Apart, apart

_LOGIN_EVERY = 0.1
_AGAIN_AFTER = 0.02
_ANSWER_SECONDS = 60
_KEPT_WORDS = 5
_TABLE = "witness_of_load"
_CREATE = f"CREATE TABLE IF NOT EXISTS {_TABLE} (client text NOT NULL, number bigint NOT NULL, written timestamptz DEFAULT now())"
_INDEX = f"CREATE INDEX IF NOT EXISTS {_TABLE}_place ON {_TABLE} (client, number)"  # not unique: what is doubled is to be seen
_WRITE = f"INSERT INTO {_TABLE} (client, number) VALUES (%s, %s)"
_READ = f"SELECT count(*) FROM {_TABLE} WHERE client = %s AND number = %s"


@dataclass(frozen=True)
class Wish:
    """What load is wanted: connection strings (libpq's key=value form) of both hops, how many clients on each, their pause in seconds."""

    pooled: str
    direct: str
    clients: int = 6
    direct_clients: int = 2
    pause: float = 0.02
    prepared: bool = False  # through the pooler; direct clients prepare always


@dataclass
class Tally:
    """What became of the transactions, or logins, of one kind in one window; times in milliseconds."""

    done: int = 0
    failed: int = 0
    ended: int = 0  # sessions that were ended from the other side
    longest: float = 0.0
    times: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)  # of the first failures

    def good(self, milliseconds: float) -> None:
        """Count one that succeeded."""
        self.done += 1
        self.longest = max(self.longest, milliseconds)
        self.times.append(milliseconds)

    def bad(self, words: str) -> None:
        """Count one that failed."""
        self.failed += 1
        if len(self.words) < _KEPT_WORDS and words not in self.words:
            self.words.append(words)

    def part(self, share: float) -> float:
        """Return the time within which this share of them was done; 0 where there was none."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@dataclass
class Window:
    """One stretch of the load, from one cut to the next."""

    name: str
    seconds: float = 0.0
    pooled: Tally = field(default_factory=Tally)
    direct: Tally = field(default_factory=Tally)
    logins: Tally = field(default_factory=Tally)

    def __str__(self) -> str:
        told = [f"{kind}: {_shown(tally)}" for kind, tally in (("pooled", self.pooled), ("direct", self.direct), ("logins", self.logins))]
        return f"{self.name}, {self.seconds:.1f} s; {'; '.join(told)}"


def _shown(tally: Tally) -> str:
    words = f" {tally.words}" if tally.words else ""
    return f"{tally.done} done, {tally.failed} failed{words}, longest {tally.longest:.0f} ms, p99 {tally.part(0.99):.0f} ms"


@dataclass(frozen=True)
class Balance:
    """What the table says at the end: numbers acknowledged and missing, numbers there more than once, and how many were acknowledged."""

    acknowledged: int
    lost: int
    doubled: int


# ------------------------------------------------------------------------------------------ the side of whoever watches


class Load:
    """A load under way."""

    def __init__(self, clients: Apart) -> None:
        self._clients = clients
        self.windows: list[Window] = []
        self.balance = Balance(0, 0, 0)
        self.stopped = False

    @contextmanager
    def window(self, name: str, *, settle: float = 0.3) -> Iterator[Window]:
        """Count what happens meanwhile by itself; filled when it ends, `settle` seconds after the act."""
        self._clients.ask({"window": name})
        told = Window(name)
        yield told
        time.sleep(settle)
        _fill(told, self._clients.ask({"window": ""}))
        self.windows.append(told)

    def control(self, seconds: float) -> Window:
        """Return what the load is like while nothing happens."""
        with self.window("control", settle=seconds) as told:
            pass
        return told

    def stop(self) -> Balance:
        """End the load, and compare what was acknowledged with what is there."""
        told = self._clients.ask({"stop": True})
        self.balance = Balance(**told)
        self.stopped = True
        return self.balance


def _fill(window: Window, told: Mapping[str, Any]) -> None:
    window.seconds = told["seconds"]
    window.pooled, window.direct, window.logins = (Tally(**told[kind]) for kind in ("pooled", "direct", "logins"))


@contextmanager
def load(wish: Wish) -> Iterator[Load]:
    """Run a load in a process of its own, from the moment when every client has written once; it ends with the block, whatever happens."""
    with apart("bench.load") as clients:
        clients.ask(dataclasses.asdict(wish))
        under_way = Load(clients)
        yield under_way
        if not under_way.stopped:
            under_way.stop()


# ------------------------------------------------------------------------------------------ the side of the clients


class _Clients:
    """All clients of one load, and the window that they count into."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._lock = threading.Lock()
        self._window, self._since = Window(""), time.monotonic()
        self.acknowledged: dict[str, set[int]] = {}
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._begun = threading.Barrier(wish.clients + wish.direct_clients + 1)

    def begin(self) -> Self:
        """Start every client, and return when each has written once."""
        run = f"{os.getpid()}-{time.time_ns()}"
        kinds = [("pooled", each) for each in range(self.wish.clients)] + [("direct", each) for each in range(self.wish.direct_clients)]
        for kind, number in kinds:
            self._start(self._write_on, kind, f"{run}-{kind}-{number}")
        self._begun.wait(_ANSWER_SECONDS)
        self._start(self._log_in_on)
        return self

    def _start(self, act: Any, *arguments: str) -> None:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def cut(self, name: str) -> Window:
        """Begin a new window; return the last."""
        with self._lock:
            past, self._window = self._window, Window(name)
            now = time.monotonic()
            past.seconds, self._since = now - self._since, now
        return past

    def end(self) -> None:
        """Stop every client."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS)

    def _count(self, kind: str, milliseconds: float | None = None, words: str = "", *, ended: bool = False) -> None:
        with self._lock:
            tally: Tally = getattr(self._window, kind)
            tally.ended += ended
            if milliseconds is not None:
                tally.good(milliseconds)
            elif words:
                tally.bad(words)

    def _write_on(self, kind: str, name: str) -> None:
        import psycopg

        acknowledged = self.acknowledged.setdefault(name, set())
        session, number, wished = None, 0, time.monotonic()
        while not self.stopping.is_set():
            number += 1
            try:
                session = session or self._connect(kind)
                with session.transaction():
                    session.execute(_WRITE, (name, number))
                    session.execute(_READ, (name, number))
            except psycopg.Error as error:
                session = self._drop(kind, session, error)
                continue
            acknowledged.add(number)
            self._count(kind, (time.monotonic() - wished) * 1000)
            if number == 1:
                self._begun.wait(_ANSWER_SECONDS)
            time.sleep(self.wish.pause)
            wished = time.monotonic()
        if session is not None:
            session.close()

    def _drop(self, kind: str, session: Any, error: Exception) -> Any:
        """Count a failure; return the session where it lives on."""
        self._count(kind, words=str(error).strip(), ended=session is not None and session.closed)
        time.sleep(_AGAIN_AFTER)
        return session if session is not None and not session.closed else None

    def _connect(self, kind: str) -> Any:
        import psycopg

        where = self.wish.pooled if kind == "pooled" else self.wish.direct
        prepares = 1 if kind == "direct" or self.wish.prepared else None
        return psycopg.connect(where, autocommit=True, prepare_threshold=prepares, application_name=f"witness {kind}")

    def _log_in_on(self) -> None:
        import psycopg

        while not self.stopping.wait(_LOGIN_EVERY):
            began = time.monotonic()
            try:
                with psycopg.connect(
                    self.wish.pooled, autocommit=True, prepare_threshold=None, application_name="witness login"
                ) as session:
                    session.execute("SELECT 1")
            except psycopg.Error as error:
                self._count("logins", words=str(error).strip())
            else:
                self._count("logins", (time.monotonic() - began) * 1000)

    def balance(self) -> Balance:
        """Compare what was acknowledged with what is in the table."""
        import psycopg

        with psycopg.connect(self.wish.direct, autocommit=True) as session:
            rows = session.execute(
                f"SELECT client, number, count(*) FROM {_TABLE} WHERE client = ANY(%s) GROUP BY 1, 2", [list(self.acknowledged)]
            )
            there: Counter[tuple[str, int]] = Counter({(client, number): count for client, number, count in rows})
        told = {(name, number) for name, numbers in self.acknowledged.items() for number in numbers}
        return Balance(len(told), len(told - there.keys()), sum(count > 1 for count in there.values()))


def _answer(words: IO[str], told: object) -> None:
    words.write(json.dumps(told) + "\n")
    words.flush()


def main() -> None:
    """Be the clients: the wish on the first line of standard input, then one order a line; each is answered by one line."""
    import psycopg

    wish = Wish(**json.loads(sys.stdin.readline()))
    with psycopg.connect(wish.direct, autocommit=True) as session:
        session.execute(_CREATE)
        session.execute(_INDEX)
    clients = _Clients(wish).begin()
    _answer(sys.stdout, {"begun": True})
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("stop"):
            clients.end()
            _answer(sys.stdout, dataclasses.asdict(clients.balance()))
            return
        _answer(sys.stdout, dataclasses.asdict(clients.cut(order["window"])))


if __name__ == "__main__":
    main()
