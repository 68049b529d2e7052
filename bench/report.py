"""Take every measurement and write the report: `python -m bench.report [ROUNDS]`, from the root of the clone. About two minutes a round."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

from bench import change, create, start

HEAD = """# How fast it is

Written by `python -m bench.report`; each part also runs by itself: `python -m bench.create`, `bench.change`, `bench.start`, each
with a number of rounds. Every round does each case once, in turn. The figures of one part were taken in one run and may be
compared with each other, and with no others: on a busy machine all of them are larger, so the ratios and the processor time
count. Beside it stand [`bench.compare`](compare.md) (direct, pooled, a PgBouncer tuned by hand and pgpool-II side by side: logins,
throughput, memory, making an instance and the disruption table, as text, JSON and a page with plots), [`bench.crowd`](crowd.md) (ten
thousand clients), `bench.disruption` (each change, each PgBouncer apart), [`bench.swap`](swap.md) (a storm of logins) and `bench.pools`
(how large a pool).
`bench.serve` is [the loop, kept running](serve.md), `bench.paint` [the console's pages](paint.md).

The aims: a read command within 250 ms; a whole `create` with a spare sooner than bare `initdb -N` and a start; from the claim of
the spare to a pooled TLS query within 6 times what PostgreSQL takes from exec to ready (the first such query is the proof that
`create` makes itself; when a client's own comes back after `create` is told beside it). Bare means PostgreSQL alone, driven as
fast as it goes: the same initdb options, `TZ` set (else initdb searches all time zones), no `pg_ctl`, which waits in steps of 100
ms.
"""


def told(measure: Callable[[int], None], rounds: int) -> str:
    """Return what a part prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        measure(rounds)
    return printed.getvalue().strip().replace("\n\n\n", "\n\n")


def main(rounds: int) -> None:
    """Write bench/README.md."""
    parts = {"A command that reads": start.main, "Create": create.main, "A change": change.main}
    text = "\n".join([HEAD, *(f"## {title}\n\n{told(measure, rounds)}\n" for title, measure in parts.items())])
    (Path(__file__).parent / "README.md").write_text("\n".join(line.rstrip() for line in text.split("\n")), "utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
