"""What each change costs clients: `python -m bench.disruption [ROUNDS [VERSION…]]`, from the root of the clone; five rounds take up to
fifteen minutes for each PgBouncer, which are measured apart: all that are here, or those of these versions (1.18, 1.26 …).

Every round makes each change once under the same load (`bench.load`), and beside each a control of the same length. A stall is the longest
time that any client waited for a commit in a window; of the rounds the middle one counts. A restart is held against a bare one of the
same settings, made in the same round: CHECKPOINT, a fast stop, a start. What was measured is written to `bench/disruption.json`, where what
was measured of other versions stays, and from which the page for people is made (`tools/reference.py`). No round is begun that would not
end in time; how many there were is told.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from bench.changes import Bed, Change, Kind, changes, copied, faults, version
from bench.load import Load, Window, load
from bench.stopwatch import end, new_home, surroundings

RESULT = Path(__file__).parent / "disruption.json"
CLIENTS, DIRECT, PAUSE = 8, 2, 0.01
CONTROL_SECONDS = 1.0  # at least; else as long as what stands beside it
MINUTES = 15.0  # for one PgBouncer
FAULT_SECONDS = 3.0  # how long clients may take to come back
MARGIN = 50.0  # milliseconds that a change may stall beyond its control
TIMES = 2.0  # of a bare restart that one behind the pooler may stall


@dataclass
class Row:
    """What one change was seen to cost, round by round; milliseconds."""

    key: str
    title: str
    kind: str
    leaves_port: bool
    took: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    controls: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)  # the longest login
    bare: list[float] = field(default_factory=list)  # of a restart: the same without Howdah
    transactions: int = 0
    failed: int = 0
    failed_logins: int = 0
    direct_ended: int = 0
    words: list[str] = field(default_factory=list)  # of the first failures

    def add(self, took: float, control: Window, seen: Window, bare: float | None) -> None:
        """Add a round."""
        self.took.append(took)
        self.stalls.append(seen.pooled.longest)
        self.controls.append(control.pooled.longest)
        self.logins.append(seen.logins.longest)
        self.transactions += seen.pooled.done
        self.failed += seen.pooled.failed
        self.failed_logins += 0 if self.leaves_port else seen.logins.failed
        self.direct_ended += seen.direct.ended
        self.words += [*seen.pooled.words, *([] if self.leaves_port else seen.logins.words)]
        if bare is not None:
            self.bare.append(bare)

    @property
    def limit(self) -> float:
        """What the middle stall is to stay within."""
        return TIMES * statistics.median(self.bare) if self.bare else statistics.median(self.controls) + MARGIN

    @property
    def within(self) -> bool:
        """Whether it does, and nobody was dropped."""
        return statistics.median(self.stalls) <= self.limit and not self.failed and not self.failed_logins


def bare_restart(bed: Bed) -> float:
    """Restart the bed's own PostgreSQL without its pooler's clients held back or anything looked at; return the milliseconds."""
    from howdah import compose
    from howdah.host import postgres, sql
    from howdah.phrase import say

    [seen] = compose.service(bed.home).all()
    seat = compose.local_host(bed.home).seat(seen.instance)
    began = time.perf_counter()
    with sql.control(seat, say("measure")) as session:
        session.execute("CHECKPOINT")
    postgres.stop(seat)
    postgres.start(seat)
    return (time.perf_counter() - began) * 1000


def one_round(bed: Bed, other: Path, number: int, rows: dict[str, Row]) -> list[int]:
    """Make every change once; return lost and doubled writes."""
    lost: list[int] = []
    for kind in get_args(Kind):
        every = [each for each in (*changes(bed, other, number), *faults()) if each.kind == kind]
        bare = bare_restart(bed) if kind == "restart" else None
        with load(bed.wish(clients=CLIENTS, direct_clients=DIRECT, pause=PAUSE)) as under_way:
            for change in every:
                row = rows.setdefault(change.key, Row(change.key, change.title, change.kind, change.leaves_port))
                _measure(change, bed, under_way, row, bare)
            balance = under_way.stop()
        lost += [balance.lost, balance.doubled]
        bed.run("repair", "shop")  # what is drained goes
    return lost


def _measure(change: Change, bed: Bed, under_way: Load, row: Row, bare: float | None) -> None:
    with under_way.window(change.key, settle=FAULT_SECONDS if change.kind == "fault" else 0.3) as seen:
        took = change.make(bed)
    control = under_way.control(CONTROL_SECONDS if change.kind == "fault" else max(seen.seconds, CONTROL_SECONDS))
    row.add(took, control, seen, bare)
    waits = f"stall {seen.pooled.longest:.0f} ms, control {control.pooled.longest:.0f} ms"
    print(f"  {change.key}: {took:.0f} ms, {waits}, {seen.pooled.failed} + {seen.logins.failed} failed", file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> str:
    """Return what was measured, in Markdown."""
    heads = "| change | failed transactions | failed logins | longest stall ms | control ms | limit ms | within | direct ended | takes ms |"
    lines = [heads, "|---|---:|---:|---:|---:|---:|---|---:|---:|"]
    for row in rows:
        stall = f"{statistics.median(row.stalls):.0f} ({min(row.stalls):.0f}–{max(row.stalls):.0f})"
        control = f"{statistics.median(row.controls):.0f} ({min(row.controls):.0f}–{max(row.controls):.0f})"
        verdict = "-" if row.kind == "fault" else "yes" if row.within else "**no**"
        takes = f"{statistics.median(row.took):.0f}"
        logins = "another port" if row.leaves_port else str(row.failed_logins)
        counts = f"{row.failed} of {row.transactions} | {logins}"
        lines.append(f"| {row.title} | {counts} | {stall} | {control} | {row.limit:.0f} | {verdict} | {row.direct_ended} | {takes} |")
    return "\n".join(lines)


def measured(rounds: int, pgbouncer: Path, other: Path) -> dict[str, Any]:
    """Measure so many rounds with a PgBouncer, or as many as there is time for; in each it is replaced by the other, and that by it."""
    home, rows, lost = new_home(), dict[str, Row](), list[int]()
    where, began, done, longest = "", time.monotonic(), 0, 0.0
    try:
        bed = copied(home, pgbouncer)
        os.environ.update(bed.environment)
        where = surroundings()
        bed.create()
        while done < rounds and (spent := time.monotonic() - began) + longest < MINUTES * 60:
            print(f"PgBouncer {_shown(pgbouncer)}: round {done + 1} of {rounds}, after {spent:.0f} s", file=sys.stderr, flush=True)
            lost += one_round(bed, other, done, rows)
            done, longest = done + 1, max(longest, time.monotonic() - began - spent)
    finally:
        end(home)
    found = [{**dataclasses.asdict(row), "limit": row.limit, "within": row.within} for row in rows.values()]
    return {
        "pgbouncer": _shown(pgbouncer),
        "rounds": done,
        "surroundings": where,
        "lost": sum(lost[::2]),
        "doubled": sum(lost[1::2]),
        "rows": found,
    }


def _shown(program: Path) -> str:
    return ".".join(map(str, version(program)))


def report(found: dict[str, Any]) -> str:
    """Return one measurement as text."""
    rows = [Row(**{key: value for key, value in each.items() if key not in ("limit", "within")}) for each in found["rows"]]
    what = f"{CLIENTS} clients through the pooler in transaction mode, {DIRECT} direct, {PAUSE * 1000:.0f} ms between two transactions"
    head = f"PgBouncer {found['pgbouncer']}, {found['rounds']} rounds; {what}; a new login every tenth of a second"
    return f"{head}\n\n{table(rows)}\n\nlost writes: {found['lost']}; doubled: {found['doubled']}\n\n{found['surroundings']}"


def main(rounds: int, versions: Sequence[str]) -> None:
    """Measure with the PgBouncers here, print the tables, and keep what was measured, after each of them."""
    from howdah.host import installed

    here = installed.find_binary()
    assert here is not None, "there is no PgBouncer here"
    programs = {_shown(each): each for each in (here, *sorted(Path("/opt").glob("pgbouncer-*/bin/pgbouncer")))}
    if unknown := set(versions) - set(programs):
        raise SystemExit(f"no PgBouncer {', '.join(sorted(unknown))} here; there are {', '.join(programs)}")
    kept = {each["pgbouncer"]: each for each in json.loads(RESULT.read_text("utf-8"))} if RESULT.exists() else {}
    for shown in versions or list(programs):
        newest = [program for other, program in programs.items() if other != shown] or [programs[shown]]
        kept[shown] = measured(rounds, programs[shown], newest[-1])
        RESULT.write_text(json.dumps([kept[each] for each in programs if each in kept], indent=1) + "\n", "utf-8")
        print(report(kept[shown]), end="\n\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:])
