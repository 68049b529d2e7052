"""Swaps of the pooler under a storm of logins: `python -m bench.swap [SWAPS [VERSION…]]`, from the root of the clone.

For each PgBouncer that is here, or those of these versions: as many logins as this machine holds (`bench.logins`: 256 rounds, libpq), and
sessions that write numbers, while one generation after another takes the logins over; then the same with fewer clients at once, which leave
the machine some room. A control before and after tells the rate of the same minute. It ends in five minutes, with fewer swaps if need be.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.changes import version
from bench.load import Wish, load
from bench.logins import storm
from bench.pooled import Measured, instance
from bench.stopwatch import surroundings

THREADS = (24, 4)  # as fast as it goes; and as many as leave room
CONTROL_SECONDS = 5.0
MINUTES = 5.0  # for everything: what swaps there is no time for are left out
_BESIDE_SECONDS = 18.0  # of the controls, and of making and ending the instance


def swaps(bed: Measured, threads: int, count: int, seconds: float) -> None:
    """Swap so often in a storm of so many clients, and print what became of everybody."""
    from howdah.service.caller import Caller

    caller = Caller("bench", "bench", lambda _: None, lambda _: None)
    writers = Wish(bed.where("pooled"), bed.where("direct"), clients=2, direct_clients=0, pause=0.05)
    with storm(bed.where("pooled"), threads) as logins, load(writers) as writing:
        controls = [logins.control(CONTROL_SECONDS)]
        took, until = list[float](), time.monotonic() + seconds
        with logins.window("swaps") as blown, writing.window("swaps") as written:
            while not took or (len(took) < count and time.monotonic() < until):
                began = time.monotonic()
                backlog = int((bed.want.pooler or {}).get("listen_backlog", 1000)) + 1
                bed.service.set_extension("shop", "pooler", {"listen_backlog": str(backlog)}, caller)
                took.append(time.monotonic() - began)
        controls.append(logins.control(CONTROL_SECONDS))
        balance = writing.stop()
    blown.name = f"{len(took)} swaps of {min(took):.1f} to {max(took):.1f} s"
    print(f"{threads} clients at once", controls[0], blown, controls[1], written, sep="\n  ")
    print(f"  lost writes: {balance.lost}, doubled: {balance.doubled}", flush=True)


def main(count: int, versions: Sequence[str]) -> None:
    """Measure with the PgBouncers here."""
    from howdah.host import installed

    here = installed.find_binary()
    assert here is not None, "there is no PgBouncer here"
    programs = {".".join(map(str, version(each))): each for each in (here, *sorted(Path("/opt").glob("pgbouncer-*/bin/pgbouncer")))}
    print(surroundings())
    share = MINUTES * 60 / len(versions or programs) / len(THREADS) - _BESIDE_SECONDS
    for shown in versions or list(programs):
        os.environ["HOWDAH_PGBOUNCER"] = str(programs[shown])
        with instance(max_client_conn=500) as bed:
            for threads in THREADS:
                print(f"\nPgBouncer {shown}, ", end="", flush=True)
                swaps(bed, threads, count, share)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it started is ended
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
