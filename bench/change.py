"""How long `params set ssl=on` takes, and ssl=off again: `python -m bench.change [ROUNDS]`, from the root of the clone.

Beside the whole process stands the operation's own time, and what PostgreSQL alone takes for `pg_reload_conf()` on the same server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.stopwatch import Figures, end, free_port, howdah, new_home, story, surroundings, timed

ON, OFF, SIZE = "params set ssl=on, whole process", "params set ssl=off, whole process", "params set work_mem=…, whole process"
NAME = "shop"


def change(home: Path, case: str, wish: str, figures: Figures) -> None:
    """Set one parameter, whole process, and add the operation's steps."""
    done = howdah(home, "params", "set", NAME, wish, "--yes")
    figures.add(case, done.milliseconds, done.processor)
    told, short = story(home, NAME), wish.partition("=")[0] if wish.startswith("work") else wish
    figures.add(f"{short}: the operation", told["milliseconds"])
    for step in told["steps"]:
        figures.add(f"{short}: {step['what']}", step["milliseconds"])
    figures.add(f"{short}: looking, and remembering", told["milliseconds"] - sum(step["milliseconds"] for step in told["steps"]))


def bare(home: Path, figures: Figures) -> None:
    """Reload the same server by itself."""
    from howdah import compose
    from howdah.host import sql
    from howdah.phrase import say

    host = compose.local_host(home)
    [seen] = compose.service(home).all()
    with sql.control(host.seat(seen.instance), say("measure")) as session:
        figures.add("bare pg_reload_conf()", timed(lambda: session.execute("SELECT pg_reload_conf()").fetchone()))


def main(rounds: int) -> None:
    """Measure, and print the report."""
    home, figures = new_home(), Figures()
    try:
        port, pooled = str(free_port()), free_port()
        wish = ("--param", "ssl=off", "--extension", f"pooler:listen_port={pooled}", "--database", "app", "--user", "app")
        howdah(home, "create", NAME, "--port", port, *wish)
        for number in range(rounds):
            change(home, ON, "ssl=on", figures)
            change(home, SIZE, f"work_mem={number + 5}MB", figures)
            change(home, OFF, "ssl=off", figures)
            bare(home, figures)
    finally:
        end(home)
    print(surroundings())
    print("an instance with a pooler, a database and a user; nobody connected\n")
    print(figures.table("case"), "\n")
    print(figures.ratio("ssl=on, whole process ÷ its operation", ON, "ssl=on: the operation"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
