"""Everything side by side, in one run: `python -m bench.compare [--rounds N] [--seconds S] [--clients N,N…] [--minutes M] [--no-create]`.

Direct, through Howdah's pooler, through a hand-tuned PgBouncer and through pgpool-II, in turn, so that whatever else the machine does falls
on all alike: logins a second and what a login costs the servers, throughput and latency by clients and protocol, memory of an idle
client; then what an instance costs to make, and what changes cost who is connected (as `bench.disruption` measured it last). pgbench is
the load. It prints tables, and writes bench/results.json and a page with plots, bench/results.html, that asks nobody for anything.
It ends within the minutes that it is given: what there is no time for is left out, the last rounds first, and how many there were is told.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import arms, page
from bench.arms import Arm
from bench.costs import family, resident, spent
from bench.crowd import crowd
from bench.pooled import Measured, instance
from bench.stopwatch import Figures, end, free_port, new_home, surroundings, timed

HERE = Path(__file__).parent
PROTOCOLS = ("simple", "extended", "prepared")
IDLE = 400
_LOGIN_CLIENTS = 8
_SCALE = 5
_LOGINS_AT_MOST = 40.0  # seconds that letting all clients in may take
_BEHIND_SECONDS = 120.0  # for the rest of a row, and for what instances cost to make
_ENDING_SECONDS = 5.0
_AT_REST = 2 * arms.POOL + 20  # server processes: two poolers' and PostgreSQL's own
_SLACK = 60  # seconds that pgbench may take beside its own


@dataclass
class Cell:
    """One way in under one load, round by round."""

    arm: str
    clients: int
    protocol: str
    rates: list[float] = field(default_factory=list)  # transactions, or logins, a second
    latency: list[float] = field(default_factory=list)  # milliseconds, the mean
    p99: list[float] = field(default_factory=list)
    front: list[float] = field(default_factory=list)  # milliseconds of processor time for each, in front of PostgreSQL
    server: list[float] = field(default_factory=list)  # and of PostgreSQL
    words: str = ""  # why there is nothing

    @property
    def rate(self) -> float:
        """The middle rate."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def cost(self) -> float:
        """What one costs the servers, in milliseconds of processor time."""
        return statistics.median(f + s for f, s in zip(self.front, self.server, strict=True)) if self.server else 0.0


@dataclass
class Results:
    """Everything that was measured."""

    surroundings: str
    versions: dict[str, str]
    configurations: dict[str, str]
    settings: dict[str, Any]
    logins: list[Cell]
    loads: list[Cell]
    memory: dict[str, list[float]]  # KiB of an idle client, of all servers
    create: dict[str, list[float]]
    disruption: list[dict[str, Any]]
    aims: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and until when."""

    sizes: Sequence[int]
    rounds: int
    seconds: float
    minutes: float
    began: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether no further row may be begun: what comes behind the loads has to be done in time, too."""
        return time.monotonic() > self.began + self.minutes * 60 - _BEHIND_SECONDS

    def tell(self, what: str) -> None:
        """Say how far it is."""
        print(f"after {time.monotonic() - self.began:.0f} s: {what}", file=sys.stderr, flush=True)


# --- the load -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """What pgbench told."""

    rate: float
    latency: float
    p99: float
    count: int = 0
    words: str = ""


def pgbench(arm: Arm, *options: str, seconds: float, script: str | None = None) -> Ran:
    """Run pgbench for a while; `words` are its own where it failed."""
    with tempfile.TemporaryDirectory(prefix="pgb-") as place:
        chosen = ["-f", str(Path(place, "script"))] if script is not None else ["-S"]
        if script is not None:
            Path(place, "script").write_text(script)
        command = [
            "pgbench",
            "-n",
            "-T",
            str(max(int(seconds), 1)),
            "-j",
            "2",
            *options,
            *chosen,
            "-l",
            "--sampling-rate=0.3",
            "--log-prefix=log",
        ]
        done = subprocess.run(
            command, cwd=place, env=arm.environment, capture_output=True, text=True, timeout=seconds + _SLACK * 3, check=False
        )
        times = sorted(int(line.split()[2]) / 1000 for log in Path(place).glob("log.*") for line in log.read_text().splitlines())
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    latency = re.search(r"latency average = ([\d.]+)", done.stdout)
    failed = re.search(r"(?:error|fatal): .*", done.stderr)
    if rate is None or failed is not None or done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-200:].replace("\n", "; ")
        return Ran(0, 0, 0, words=failed[0] if failed else words or "no answer")
    count = int((re.search(r"actually processed: (\d+)", done.stdout) or ["", "0"])[1])
    return Ran(float(rate[1]), float(latency[1]) if latency else 0.0, times[int(len(times) * 0.99)] if times else 0.0, count)


def take(
    cell: Cell, arm: Arm, server: int, options: Sequence[str], seconds: float, login: Cell | None = None, script: str | None = None
) -> None:
    """Add one round of one cell; what a `login` costs is taken off for each client, for pgbench counts transactions alone."""
    if cell.words:
        return
    # its time begins with the first login: a late client would have none of it
    before = 1.5 * cell.clients / login.rate if login and login.rate else 0.0
    if before > _LOGINS_AT_MOST:
        cell.words = f"left out: at {login.rate if login else 0:.0f} logins a second its clients alone take {before:.0f} s to come in"
        return
    settled(server)
    used, began = (spent(arm.front), spent([server])), time.monotonic()
    ran = pgbench(arm, *options, seconds=seconds + before, script=script)
    if ran.words:
        cell.words = ran.words
        return
    took = time.monotonic() - began
    less = [statistics.median(each) * cell.clients if each else 0.0 for each in ((login.front, login.server) if login else ((), ()))]
    cell.rates.append(ran.rate)
    cell.latency.append(ran.latency)
    cell.p99.append(ran.p99)
    cell.front.append(max(spent(arm.front) - used[0] - less[0], 0) / max(ran.count, 1))
    cell.server.append(max(spent([server]) - used[1] - less[1], 0) / max(ran.count, 1))
    print(f"{arm.name:8} {cell.clients:5} {cell.protocol:9} {ran.rate:9.0f}/s {took:5.1f} s", file=sys.stderr)


def turned(ways: Sequence[Arm], number: int) -> list[Arm]:
    """Return the ways in, each round beginning with another, every second one backwards: who comes after whom may matter."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]][:: -1 if number % 2 else 1]


def settled(server: int) -> None:
    """Wait until the server processes of who came before have ended: a thousand of them take a while, which is nobody else's."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while len(family([server])) > _AT_REST and time.monotonic() < deadline:
        time.sleep(0.05)


def logins(ways: Sequence[Arm], server: int, rounds: int, seconds: float) -> list[Cell]:
    """Measure logins: connect, ask once, leave."""
    cells = {arm.name: Cell(arm.name, _LOGIN_CLIENTS, "login") for arm in ways}
    for number in range(rounds):
        for arm in turned(ways, number):
            take(cells[arm.name], arm, server, ["-C", "-c", str(_LOGIN_CLIENTS)], seconds, script="SELECT 1;\n")
    return list(cells.values())


def loads(ways: Sequence[Arm], server: int, plan: Plan, costs: Sequence[Cell]) -> list[Cell]:
    """Measure throughput and latency of short reads."""
    cells = {(arm.name, size, how): Cell(arm.name, size, how) for size in plan.sizes for how in PROTOCOLS for arm in ways}
    login = {each.arm: each for each in costs}
    for number, size, how in itertools.product(range(plan.rounds), plan.sizes, PROTOCOLS):
        if plan.over:
            break  # all ways in of a row, or none
        plan.tell(f"round {number + 1} of {plan.rounds}: {size} clients, {how}")
        for arm in turned(ways, number):
            cell = cells[arm.name, size, how]
            if how == "prepared" and not arm.prepared:
                cell.words = "this PgBouncer carries no prepared statements (1.21 and newer do)"
            take(cell, arm, server, ["-M", how, "-c", str(size)], plan.seconds, login[arm.name])
    for cell in cells.values():
        if not cell.rates:
            cell.words = cell.words or "left out: there was no time"
    return list(cells.values())


def idle(ways: Sequence[Arm], server: int) -> dict[str, list[float]]:
    """Measure the memory of an idle client, in all processes that it shares with nobody; once, for who was grown already hides it."""
    found: dict[str, list[float]] = {}
    for arm in ways:
        roots = [*arm.front, *([server] if arm.own_backend else [])]
        with crowd(arm.where) as clients:
            first = clients.grow(IDLE // 8).held  # opens what all clients share
            before = resident(roots)
            more = clients.grow(IDLE).held - first
            found[arm.name] = [round((resident(roots) - before) / max(more, 1), 1)]
        time.sleep(0.5)
    return found


# --- what it takes to make one ------------------------------------------------------------------------------------------------------


def creation(rounds: int) -> dict[str, list[float]]:
    """Measure what an instance costs to make, beside PostgreSQL's and Debian's own ways."""
    from bench import create

    home, figures = new_home(), Figures()
    try:
        for number in range(rounds):
            create.one_round(home, number, figures)
            if shutil.which("pg_createcluster") and os.geteuid() == 0:
                figures.add("pg_createcluster --start", _cluster(home, f"bench{number}"))
    finally:
        end(home)
    names = [create.BARE_INITDB, create.BARE_START, create.BARE_BOTH, create.SPARE, create.NO_SPARE, create.PROVEN, create.POOLED]
    return {name: figures.taken[name] for name in [*names, "pg_createcluster --start"] if name in figures.taken}


def _cluster(home: Path, name: str) -> float:
    """Make and start a cluster as Debian does, below our own home, and take it away."""
    from howdah.host import postgres

    major = str(list(postgres.majors())[-1])
    place = home / f"debian-{name}"
    for part in (place, place / "sock"):
        part.mkdir(mode=0o755)
        shutil.chown(part, "postgres", "postgres")
    environment = {**os.environ, "PG_CLUSTER_CONF_ROOT": str(place / "etc")}
    command: list[str | Path] = [
        "pg_createcluster",
        major,
        name,
        "-d",
        place / "data",
        "-s",
        place / "sock",
        "-l",
        place / "log",
        "-p",
        str(free_port()),
    ]
    try:
        return timed(lambda: subprocess.run([*command, "--start"], env=environment, check=True, stdout=subprocess.DEVNULL))
    finally:
        subprocess.run(["pg_dropcluster", "--stop", major, name], env=environment, check=False, stdout=subprocess.DEVNULL)


# --- the aims -----------------------------------------------------------------------------------------------------------------------


def judged(found: Results) -> Iterator[dict[str, Any]]:
    """Return each aim, what was seen, whether it is met, and where it is not, by how much and what is known of the reason."""
    rate = {(cell.arm, cell.clients, cell.protocol): cell for cell in [*found.logins, *found.loads]}
    for (arm, clients, how), cell in rate.items():
        other = rate.get(("tuned", clients, how))
        if arm == "howdah" and other is not None and cell.rate and other.rate:
            yield _ratio(f"{how}, {clients} clients: ÷ hand-tuned PgBouncer", cell, other, 0.95)
    yield from _login_aim({cell.arm: cell for cell in found.logins})
    for how in PROTOCOLS:
        crowded, plain = rate.get(("howdah", 1000, how)), rate.get(("direct", 1000, how))
        if crowded is not None and plain is not None and crowded.rate and plain.rate:
            aim = _ratio(f"{how}, 1000 clients: throughput ÷ direct", crowded, plain, 2.5)
            yield {**aim, "why": f"{aim['why']}; the clients themselves have the same cores, and cost the same both ways"}
    if found.memory.get("howdah") and found.memory.get("tuned"):
        own, hand = (statistics.median(found.memory[arm]) for arm in ("howdah", "tuned"))
        yield _aim("memory of an idle client ÷ hand-tuned PgBouncer", own / hand, 1.05, f"{own:.1f} and {hand:.1f} KiB", least=False)
    from bench.create import BARE_START, PROVEN

    if found.create:
        proven, bare = (statistics.median(found.create[name]) for name in (PROVEN, BARE_START))
        why = f"{proven:.0f} and {bare:.0f} ms: beside the start stand looks, roles, a database and a proven login (see `bench.create`)"
        yield _aim("from the claim of a spare to a pooled TLS query ÷ exec → ready", proven / bare, 4.0, why, least=False)


def _ratio(what: str, one: Cell, other: Cell, aim: float) -> dict[str, Any]:
    """Judge the ratio of two rates, round by round; one that lies within the spread of the rounds is said to."""
    each = [mine / theirs for mine, theirs in zip(one.rates, other.rates, strict=False)]
    spread = f"round by round {min(each):.2f} to {max(each):.2f}"
    costs = f"{1000 * one.cost:.0f} and {1000 * other.cost:.0f} µs of the servers' processor for each"
    noise = "; within the spread of the rounds" if max(each) >= aim else ""
    return _aim(what, statistics.median(each), aim, f"{spread}{noise}; {costs}")


def _login_aim(login: dict[str, Cell]) -> Iterator[dict[str, Any]]:
    mine, plain = login.get("howdah"), login.get("direct")
    if mine is None or plain is None or not (mine.cost and plain.cost):
        return
    own, look = statistics.median(mine.front), statistics.median(mine.server)
    why = (
        f"of {mine.cost:.2f} ms the pooler's TLS and SCRAM take {own:.2f}, the role's lookup in PostgreSQL, made at each login, {look:.2f}"
    )
    yield _aim("processor time of the servers for a login ÷ direct", mine.cost / plain.cost, 0.2, why, least=False)


def _aim(what: str, seen: float, aim: float, why: str, *, least: bool = True) -> dict[str, Any]:
    met = seen >= aim if least else seen <= aim
    missed = 0.0 if met else round(abs(seen - aim) / aim, 3)
    return {"what": what, "aim": aim, "least": least, "seen": round(seen, 3), "met": met, "missed_by": missed, "why": why}


# --- the report ---------------------------------------------------------------------------------------------------------------------


def disruption() -> list[dict[str, Any]]:
    """Return what `bench.disruption` measured last; nothing where it never did."""
    file = HERE / "disruption.json"
    found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return found


@contextlib.contextmanager
def every(bed: Measured, most: int) -> Iterator[list[Arm]]:
    """Hold all ways in open that this machine has."""
    with contextlib.ExitStack() as stack:
        ways = [arms.direct(bed), arms.pooled(bed), stack.enter_context(arms.tuned(bed, most + 500))]
        program = arms.pgpool_program()
        if program is None:
            print("pgpool-II is not here: apt-get install pgpool2, or name it in PGPOOL", file=sys.stderr)
        else:
            ways.append(stack.enter_context(arms.pgpool(bed, program, most + 20)))
        yield ways


def measured(plan: Plan, *, create: bool) -> Results:
    """Measure everything."""
    most = max(*plan.sizes, IDLE + IDLE // 8)
    pooler = {"max_client_conn": most + 500, "default_pool_size": arms.POOL}
    with instance({"max_connections": str(2 * most + 200)}, **pooler) as bed, every(bed, most) as ways:
        subprocess.run(["pgbench", "-i", "-q", "-s", str(_SCALE)], env=ways[0].environment, check=True, capture_output=True)
        server = bed.server_pid()
        plan.tell("memory of idle clients")
        memory = idle(ways, server)
        plan.tell("logins")
        costs = logins(ways, server, plan.rounds, plan.seconds)
        found = Results(
            surroundings(),
            {arm.name: arm.version for arm in ways},
            {"howdah": bed.configuration(), **{arm.name: arm.configuration for arm in ways if arm.configuration}},
            {"rounds": plan.rounds, "seconds": plan.seconds, "scale": _SCALE, "pool": arms.POOL, "processes": len(ways[1].front)},
            costs,
            loads(ways, server, plan, costs),
            memory,
            {},
            disruption(),
        )
    plan.tell("making instances")
    found.create = creation(plan.rounds) if create else {}
    found.aims = list(judged(found))
    return found


def main() -> None:
    """Measure, print, and write the report."""
    asked = argparse.ArgumentParser(prog="python -m bench.compare")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=3)
    asked.add_argument("--clients", default="10,100,500,1000")
    asked.add_argument("--minutes", type=float, default=20)
    asked.add_argument("--no-create", action="store_true")
    asked.add_argument("--into", type=Path, default=HERE)
    said = asked.parse_args()
    sizes = [int(each) for each in said.clients.split(",")]
    found = measured(Plan(sizes, said.rounds, said.seconds, said.minutes), create=not said.no_create)
    print(page.text(asdict(found)))
    (said.into / "results.json").write_text(json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n", "utf-8")
    (said.into / "results.html").write_text(page.html(asdict(found)), "utf-8")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it started is ended
    main()
