"""How many server connections a pool should have: `python -m bench.pools [ROUNDS]`, from the root of the clone; about two minutes.

One instance, whose `default_pool_size` is changed by a reload, round by round in turn; many clients read in transaction mode. What was
measured is written to `bench/pools.json`, from which `tools/reference.py` fills the guide to tuning.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from bench import arms
from bench.compare import pgbench
from bench.pooled import instance
from bench.stopwatch import surroundings

RESULT = Path(__file__).parent / "pools.json"
A_CORE = (1, 2, 3, 5, 8, 16)  # server connections
CLIENTS, SECONDS = 200, 3.0


def main(rounds: int) -> None:
    """Measure, print, and keep what was measured."""
    from howdah.service.caller import Caller

    caller, cores = Caller("bench", "bench", lambda _: None, lambda _: None), os.cpu_count() or 1
    rates: dict[int, list[float]] = {each: [] for each in A_CORE}
    with instance({"max_connections": str(max(A_CORE) * cores + 60)}, max_client_conn=CLIENTS + 100) as bed:
        way = arms.pooled(bed)
        for number in range(rounds):
            for each in A_CORE:
                bed.service.set_extension("shop", "pooler", {"default_pool_size": str(each * cores)}, caller)
                ran = pgbench(way, "-M", "extended", "-c", str(CLIENTS), seconds=SECONDS, script=_READ)
                if ran.words:
                    raise SystemExit(ran.words)
                rates[each].append(ran.rate)
                print(f"round {number + 1} of {rounds}: {each} a core, {ran.rate:.0f} a second", file=sys.stderr, flush=True)
        program = way.version
    told = {"surroundings": surroundings(), "pgbouncer": program, "clients": CLIENTS, "rounds": rounds, "rates": rates}
    RESULT.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    print(json.dumps(told, indent=1))


_READ = "SELECT count(*) FROM pg_catalog.pg_class WHERE relkind = 'r';\n"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it started is ended
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
