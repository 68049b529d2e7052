"""Time whole processes and acts, case after case in turn, and tell the figures with their spread, the settings and the machine.

Cases of one run are interleaved, so that whatever else the machine does falls on all of them alike; only figures of one run are compared.
The middle one of each case counts, the least and the greatest stand beside it. Where it was taken, processor time is that of the process
and of the children that it waited for: it says what a case costs also where others keep the processors busy.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOWDAH = (sys.executable, "-P", "-m", "howdah")


@dataclass
class Figures:
    """Milliseconds by case, in the order in which the cases were first seen."""

    taken: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    def add(self, case: str, milliseconds: float, processor: float | None = None) -> None:
        """Add one measurement: by the clock, and where it is known by the processor."""
        self.taken.setdefault(case, []).append(milliseconds)
        if processor is not None:
            self.processor.setdefault(case, []).append(processor)

    def middle(self, case: str) -> float:
        """Return the median of a case."""
        return statistics.median(self.taken[case])

    def table(self, title: str, cases: Sequence[str] | None = None) -> str:
        """Return a table in Markdown: median, spread, how often."""
        names = [case for case in (cases or self.taken) if case in self.taken]
        rows = [f"| {title} | median ms | least–greatest | processor ms | n |", "|---|---:|---:|---:|---:|"]
        for name in names:
            every, cost = self.taken[name], self.processor.get(name)
            shown = f"{statistics.median(cost):.0f}" if cost else ""
            rows.append(f"| {name} | {statistics.median(every):.0f} | {min(every):.0f}–{max(every):.0f} | {shown} | {len(every)} |")
        return "\n".join(rows)

    def ratio(self, words: str, upper: str, lower: str) -> str:
        """Return a line with the ratio of two medians, and the spread of the ratios round by round."""
        by_round = [a / b for a, b in zip(self.taken[upper], self.taken[lower], strict=True)]
        return f"- {words}: **{self.middle(upper) / self.middle(lower):.2f}** (round by round {min(by_round):.2f}–{max(by_round):.2f})"


def timed(act: Callable[[], object]) -> float:
    """Return how many milliseconds an act takes."""
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1000


@dataclass(frozen=True)
class Run:
    """A process that came to its end."""

    milliseconds: float
    processor: float
    said: str


def run(command: Sequence[str], **environment: str) -> Run:
    """Run a whole process in a clean environment; one that fails ends the bench with its words."""
    env = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8", **environment}
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as wrong:
        start = time.perf_counter()
        child = subprocess.Popen(command, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=told, stderr=wrong)
        _, status, used = os.wait4(child.pid, 0)
        took = (time.perf_counter() - start) * 1000
        child.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        wrong.seek(0)
        said, complaint = told.read(), wrong.read()
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {complaint}")
    return Run(took, (used.ru_utime + used.ru_stime) * 1000, said)


def howdah(home: Path, *arguments: str, **environment: str) -> Run:
    """Run a whole `howdah` process; the trash keeps what is deleted."""
    return run([*HOWDAH, *arguments], HOWDAH_HOME=str(home), HOWDAH_TRASH="86400", **environment)


def story(home: Path, name: str) -> Mapping[str, Any]:
    """Return the newest operation of an instance, with its steps."""
    newest: Mapping[str, Any] = json.loads(howdah(home, "operations", name, "--json").said)[0]
    return newest


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_home() -> Path:
    """Make a home that the servers' users may pass through."""
    home = Path(tempfile.mkdtemp(prefix="hb-", dir=os.environ.get("BENCH_DIR")))
    home.chmod(0o711)
    return home


def end(home: Path) -> None:
    """Delete what is left of a run: its instances, then everything below its home."""
    for each in json.loads(howdah(home, "list", "--json").said):
        howdah(home, "delete", each["name"], "--yes")
    deadline = time.monotonic() + 60
    while home.exists():  # a detached process may still be making a spare in it
        shutil.rmtree(home, ignore_errors=time.monotonic() < deadline)
        time.sleep(0.1)


def surroundings() -> str:
    """Return what the figures were taken on, and how busy it was."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    now, system = time.strftime("%Y-%m-%d %H:%M", time.gmtime()), f"{memory} GiB; Linux {platform.release()}"
    lines = [
        f"{now} UTC; {os.cpu_count()} × {cpu}; {system}; load {load}",
        f"Python {platform.python_version()}; {_pgbouncer()}; {_newest_postgres()}; uid {os.getuid()}",
    ]
    return "\n".join(lines)


def _says(program: str) -> str:
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10).stdout.splitlines()[0]
    except OSError:
        return f"no {program}"


def _pgbouncer() -> str:
    from howdah.host import installed

    return _says(str(installed.find_binary() or "pgbouncer"))


def _newest_postgres() -> str:
    from howdah.host import postgres

    return _says(f"{list(postgres.majors().values())[-1]}/postgres")
