"""How long an instance takes to come into the world, beside PostgreSQL alone: `python -m bench.create [ROUNDS]`, from the clone's root.

Bare means the same initdb options, time zone and configuration defaults as PostgreSQL has them, driven without waiting in steps: anything
slower would flatter us. Each round does every case once; data directories are kept to the end, for making files soon after removing
many is slow on ext4 and would fall on whoever comes next.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.stopwatch import Figures, end, free_port, howdah, new_home, story, surroundings, timed

from howdah.core.layout import Layout
from howdah.host import accounts, files, postgres, process
from howdah.host.postgres import Seat

INITDB = ("-N", "-k", "-U", "postgres", "--auth-local=peer", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8")
BARE_INITDB, BARE_START, BARE_BOTH = "bare initdb -N", "bare exec postgres → ready", "bare initdb -N + start"
SPARE, NO_SPARE = "howdah create, a spare ready", "howdah create, no spare"
PROVEN = "claim of the spare → pooled TLS query by Howdah's own proof"
POOLED = "claim of the spare → create done, and a client's pooled TLS query"


def bare(where: Path, figures: Figures) -> None:
    """Initialise and start a PostgreSQL by itself."""
    account = accounts.account("postgres") if os.geteuid() == 0 else None
    bindir = list(postgres.majors().values())[-1]
    seat = Seat(Layout(where, "bare"), bindir, free_port(), account)
    files.make_parents(seat.layout.root)
    files.make_directory(seat.layout.pg, 0o711, account)
    postgres.fit(seat.layout.pg, account, None)
    before = os.times()
    first = timed(lambda: postgres.run_as(account, [bindir / "initdb", *INITDB, "-D", seat.layout.data], seat.layout.pg))
    after = os.times()
    cost = (after.children_user + after.children_system - before.children_user - before.children_system) * 1000
    conf = seat.layout.data / "postgresql.conf"
    text = f"{conf.read_text()}\nport = {seat.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{seat.layout.socket_dir}'\n"
    files.put(conf, text, 0o600, account)
    second = timed(lambda: _start(seat))
    figures.add(BARE_INITDB, first, cost)
    figures.add(BARE_START, second)
    figures.add(BARE_BOTH, first + second)
    postgres.stop(seat)


def _start(seat: Seat) -> None:
    argv = [str(seat.bindir / "postgres"), "-D", str(seat.layout.data)]
    log = seat.layout.log / "bare.log"
    started = process.spawn(argv, account=seat.account, cwd=seat.layout.data, stdout=log, stderr=log)
    pid_file = seat.layout.data / "postmaster.pid"
    while True:
        lines = (files.read(pid_file) or "").split("\n")
        if len(lines) > 7 and lines[7].strip() == "ready":
            return
        if not process.alive(started):
            raise SystemExit(f"the bare server did not start: {log.read_text()}")
        time.sleep(0.001)


def spare_ready(home: Path) -> None:
    """Wait until no detached process makes a spare any more and one is there."""
    major = list(postgres.majors())[-1]
    deadline = time.monotonic() + 60
    while not [each for each in (home / "spares" / str(major)).glob("*") if not each.name.startswith(".")]:
        howdah(home, "spare", str(major))
        if time.monotonic() > deadline:
            raise SystemExit("no spare was made")
        time.sleep(0.05)


def create(home: Path, name: str, case: str, figures: Figures) -> None:
    """Run a whole `howdah create`."""
    port, pooled = free_port(), free_port()
    wish = ("--port", str(port), "--extension", f"pooler:listen_port={pooled}", "--database", "app", "--user", "app")
    done = howdah(home, "create", name, *wish)
    figures.add(case, done.milliseconds, done.processor)


def phases(home: Path, name: str, case: str, figures: Figures) -> None:
    """Add the steps of the operation, and what lies between them."""
    told = story(home, name)
    for step in told["steps"]:
        figures.add(f"{case}: {step['what']}", step["milliseconds"])
    figures.add(f"{case}: looking, and remembering", told["milliseconds"] - sum(step["milliseconds"] for step in told["steps"]))
    figures.add(f"{case}: the operation", told["milliseconds"])


def once(home: Path, name: str) -> None:
    """Create in this process, then query as the new user through the pooler with verify-full; print the milliseconds since the claim.

    Howdah's proof is such a query, too, by its probe role, and the first that the new pooler answers: when it was answered is noted.
    """
    from dataclasses import replace

    import psycopg

    from howdah import compose
    from howdah.core.wishes import Creation
    from howdah.host import sessions
    from howdah.service.caller import Caller

    begun: list[float] = []
    proven: list[float] = []
    proof = sessions.try_login

    def noted(*args: Any, **kwargs: Any) -> Any:
        fault = proof(*args, **kwargs)
        assert fault is None, fault
        proven.append(time.perf_counter())
        return fault

    sessions.try_login = noted
    service = compose.service(home)
    caller = Caller("bench", "bench", lambda _: None, lambda _: begun.append(time.perf_counter()))
    pooler = {"listen_port": str(free_port())}
    wish = replace(Creation(name), port=free_port(), extensions={"pooler": pooler}, database="app", user="app")
    done = service.create(wish, caller)
    made = time.perf_counter()
    assert done.password is not None
    user, password = done.password
    authority = service.authority().file
    where = f"host=127.0.0.1 port={pooler['listen_port']} dbname=app user={user} sslmode=verify-full sslrootcert={authority}"
    with psycopg.connect(where, password=password.reveal()) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    moments = {"proven": proven[0] - begun[0], "pooled": time.perf_counter() - begun[0], "last": time.perf_counter() - made}
    print(json.dumps({name: seconds * 1000 for name, seconds in moments.items()}))


def one_round(home: Path, number: int, figures: Figures) -> None:
    """Take every case once."""
    bare(home / f"bare{number}", figures)
    spare_ready(home)
    create(home, f"spare{number}", SPARE, figures)
    phases(home, f"spare{number}", "spare", figures)
    spare_ready(home)
    (home / "spares").rename(home / f"aside{number}")
    (home / "spares").mkdir(mode=0o711)
    create(home, f"none{number}", NO_SPARE, figures)
    phases(home, f"none{number}", "none", figures)
    spare_ready(home)
    command = [sys.executable, "-m", "bench.create", "--once", str(home), f"pooled{number}"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(said.stdout)
    figures.add(PROVEN, told["proven"])
    figures.add(POOLED, told["pooled"])
    figures.add("of that the last login and query", told["last"])
    for name in ("spare", "none", "pooled"):
        howdah(home, "delete", f"{name}{number}", "--yes")


def main(rounds: int) -> None:
    """Measure, and print the report."""
    home, figures = new_home(), Figures()
    try:
        for number in range(rounds):
            one_round(home, number, figures)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    finally:
        end(home)
    print(surroundings())
    print("`create --extension pooler --database app --user app`, size small, TLS on both hops; whole process unless said\n")
    print(
        figures.table("case", [BARE_INITDB, BARE_START, BARE_BOTH, SPARE, NO_SPARE, PROVEN, POOLED, "of that the last login and query"]),
        "\n",
    )
    print(figures.ratio("create with a spare ÷ bare initdb -N + start (aim < 1)", SPARE, BARE_BOTH))
    print(figures.ratio("create without a spare ÷ bare initdb -N + start", NO_SPARE, BARE_BOTH))
    print(figures.ratio("claim → pooled TLS query proven ÷ exec → ready (aim ≤ 6)", PROVEN, BARE_START))
    print(figures.ratio("claim → create done and a client's query ÷ exec → ready", POOLED, BARE_START), "\n")
    for case in ("spare", "none"):
        print(figures.table(f"phases, {case}", [each for each in figures.taken if each.startswith(f"{case}: ")]), "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.argv[1:2] == ["--once"]:
        once(Path(sys.argv[2]), sys.argv[3])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
