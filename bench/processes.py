"""How many PgBouncers should share a port: `python -m bench.processes [ROUNDS]`, from the root of the clone; needs PgBouncer 1.19.

One instance for each number of processes, under the same load in turn: pgbench's selects and logins, over TLS, by one, two and four
clients and by many that mostly wait. What it costs beside is told, too: memory, and the time of `create`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from bench.stopwatch import end, free_port, howdah, new_home, surroundings

PROCESSES = (1, 2)
# clients, and pgbench's threads
LOADS = {"1 client": (1, 1), "2 clients": (2, 2), "4 clients": (4, 2), "20 clients": (20, 2), "60 clients": (60, 2)}
SECONDS = 3


def create(home: Path, processes: int) -> tuple[str, Mapping[str, str], float]:
    """Make an instance with that many PgBouncers; return its name, the environment to reach it, and the milliseconds."""
    name = f"of{processes}"
    wish = ("--port", str(free_port()), "--extension", f"pooler:listen_port={free_port()},pool_mode=transaction,processes={processes}")
    here = {"HOWDAH_PGBOUNCER": os.environ["HOWDAH_PGBOUNCER"]} if "HOWDAH_PGBOUNCER" in os.environ else {}
    made = howdah(home, "create", name, *wish, "--database", "app", "--user", "app", "--json", **here)
    told = json.loads(howdah(home, "show", name, "--json").said)
    port = next(each["port"] for each in told["endpoints"] if each["kind"] == "pooled")
    password = json.loads(made.said)["password"]["password"]
    words = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "app", "PGDATABASE": "app", "PGPASSWORD": password}
    return name, {**words, "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(home / "ca" / "ca.crt")}, made.milliseconds


def pgbench(where: Mapping[str, str], *options: str) -> float:
    """Return how many transactions, or logins, a second pgbench makes."""
    from howdah.host import postgres

    program = list(postgres.majors().values())[-1] / "pgbench"
    done = subprocess.run([program, *options], env={"PATH": os.environ["PATH"], **where}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(next(line.split()[2] for line in done.stdout.splitlines() if line.startswith("tps = ")) if "tps" in done.stdout else 0)


def memory(home: Path) -> float:
    """Return the MiB that PgBouncers and their keepers in a home hold by themselves (Pss)."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(home / "instances") and "/pool/" in str((entry / "cwd").readlink()):
                rollup = (entry / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except OSError:
            continue
    return total / 1024


def main(rounds: int) -> None:
    """Measure, and print the report."""
    home, rates = new_home(), defaultdict[tuple[str, int], list[float]](list)
    try:
        howdah(home, "list")
        beds: dict[int, Mapping[str, str]] = {}
        took: dict[int, float] = {}
        held: dict[int, float] = {}
        for processes in PROCESSES:
            _, beds[processes], took[processes] = create(home, processes)
            held[processes] = memory(home) - sum(held.values())
            pgbench(beds[processes], "-i", "-q")
        for _ in range(rounds):
            for title, (clients, threads) in LOADS.items():
                for processes, where in beds.items():
                    options = ("-n", "-S", "-c", str(clients), "-j", str(threads), "-T", str(SECONDS))
                    rates[title, processes].append(pgbench(where, *options))
            for processes, where in beds.items():
                rates["logins by 4 clients", processes].append(pgbench(where, "-n", "-S", "-C", "-c", "4", "-j", "2", "-T", str(SECONDS)))
        print(
            surroundings(),
            f"PgBouncer of HOWDAH_PGBOUNCER: {os.environ.get('HOWDAH_PGBOUNCER', '-')}",
            "pgbench -S over TLS, transaction mode, two instances in turn",
            sep="\n",
        )
        print(report(rates, took, held))
    finally:
        end(home)


def report(rates: Mapping[tuple[str, int], list[float]], took: Mapping[int, float], held: Mapping[int, float]) -> str:
    """Return the tables in Markdown."""
    rows = ["| a second | " + " | ".join(f"{each} processes" for each in PROCESSES) + " | ratio |", "|---|---:|---:|---:|"]
    for title in dict.fromkeys(title for title, _ in rates):
        cells = [rates[title, each] for each in PROCESSES]
        ratio = statistics.median(b / a for a, b in zip(*cells, strict=True))
        rows.append(
            f"| {title} | " + " | ".join(f"{statistics.median(c):.0f} ({min(c):.0f}–{max(c):.0f})" for c in cells) + f" | {ratio:.2f} |"
        )
    rows.append("| MiB of PgBouncers and keepers | " + " | ".join(f"{held[each]:.0f}" for each in PROCESSES) + " | |")
    rows.append("| `create`, ms, once, without a spare | " + " | ".join(f"{took[each]:.0f}" for each in PROCESSES) + " | |")
    return "\n".join(rows)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
