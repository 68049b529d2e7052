"""How long a command that only reads takes, from exec to exit: `python -m bench.start [ROUNDS]`, from the root of the clone.

The yardsticks are Python by itself and Python with Typer. Which modules the time goes to is told by the interpreter (-X importtime), the
least of some runs for each.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bench.stopwatch import HOWDAH, Figures, end, free_port, howdah, new_home, run, surroundings

READS = (
    ("list",),
    ("list", "--json"),
    ("show", "shop"),
    ("params", "list", "shop"),
    ("connect", "shop"),
    ("operations", "shop"),
    ("doctor",),
)
PYTHON, TYPER = "python -c pass", "python -c 'import typer'"


def bare(code: str, case: str, figures: Figures) -> None:
    """Run Python alone."""
    done = run([sys.executable, "-P", "-c", code])
    figures.add(case, done.milliseconds, done.processor)


def imports(home: Path, *arguments: str, runs: int = 5) -> dict[str, tuple[float, float]]:
    """Return milliseconds by module: its own and with all that it imports, the least of some runs."""
    env = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8", "HOWDAH_HOME": str(home)}
    found: dict[str, tuple[float, float]] = {}
    command = [HOWDAH[0], "-X", "importtime", *HOWDAH[1:], *arguments]
    for _ in range(runs):
        said = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60).stderr
        for own, whole, name in re.findall(r"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)$", said, re.MULTILINE):
            now = (int(own) / 1000, int(whole) / 1000)
            found[name] = min(found.get(name, now), now, key=lambda each: each[1])
    return found


def breakdown(found: dict[str, tuple[float, float]]) -> str:
    """Return the dearest modules in Markdown."""
    rows = ["| module | itself ms | with what it imports ms |", "|---|---:|---:|"]
    dearest = sorted(found, key=lambda name: -found[name][1])[:25]
    rows += [f"| {name} | {found[name][0]:.1f} | {found[name][1]:.1f} |" for name in dearest]
    own = sum(each[0] for name, each in found.items() if name.startswith("howdah"))
    rows.append(f"| all of howdah's own modules ({sum(name.startswith('howdah') for name in found)}) | {own:.1f} | |")
    rows.append(f"| all modules ({len(found)}) | {sum(each[0] for each in found.values()):.1f} | |")
    return "\n".join(rows)


def main(rounds: int) -> None:
    """Measure, and print the report."""
    home, figures = new_home(), Figures()
    try:
        pooler = f"pooler:listen_port={free_port()}"
        howdah(home, "create", "shop", "--port", str(free_port()), "--extension", pooler, "--database", "app", "--user", "app")
        for _ in range(rounds):
            bare("pass", PYTHON, figures)
            bare("import typer", TYPER, figures)
            for read in READS:
                done = howdah(home, *read)
                figures.add(" ".join(read), done.milliseconds, done.processor)
        found = imports(home, "list")
    finally:
        end(home)
    print(surroundings())
    print("one running instance with a pooler, TLS on both hops; whole process, as root\n")
    print(figures.table("case"), "\n")
    print("Aim: a read command ≤ 250 ms.", "\n")
    print("Where `list` spends its imports:\n")
    print(breakdown(found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
