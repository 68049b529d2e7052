"""What it costs to keep the loop running over idle instances: `python -m bench.serve [INSTANCES] [SECONDS]`, 50 and 330 unless told.

It writes `bench/serve.md`. They are real instances, of the size `tiny`, every second one with a pooler, made in a home of the bench's own
and deleted at the end. What is measured is processor time: of the quick looks by the loop itself, of everything else by the kernel, of
measuring for Monitoring apart from both. A third figure is how soon a killed postmaster has a successor.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from howdah import compose
from howdah.core.wishes import Creation
from howdah.host import process
from howdah.service.caller import Caller
from howdah.service.rounds import Rounds
from howdah.service.sampling import Sampler, Samples

CALLER = Caller("bench", "bench.serve", lambda question: None, lambda told: None)
KILLS = 10
HEAD = """# The loop, kept running

Written by `python -m bench.serve`: what `howdah serve` costs over idle instances, and how soon it has a killed PostgreSQL back. A
quick look connects to nobody and is taken each second; a full look (SQL and handshakes) every five minutes. Aims: both together
under 2 % of a core for 50 instances; a quick look under 1 ms an instance; a killed postmaster back within 2 s.

"""


def main() -> None:
    """Measure, print, and write it down."""
    count, seconds = (int(word) for word in (sys.argv[1:] + ["50", "330"][len(sys.argv) - 1 :])[:2])
    os.environ["HOWDAH_SPARES"] = "0"
    home = Path(tempfile.mkdtemp(prefix="b"))
    home.chmod(0o711)
    service = compose.service(home, trash_seconds=0.0)
    kernel, python = platform.release(), platform.python_version()
    told = [
        f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores; Linux {kernel}; Python {python}",
        "",
    ]
    try:
        for number in range(count):
            pooler: dict[str, dict[str, str]] = {"pooler": {}} if number % 2 == 0 else {}
            service.create(Creation(f"i{number}", size="tiny", extensions=pooler), CALLER)
        told += [f"{count} instances of size tiny, {(count + 1) // 2} with a pooler; load of the machine {os.getloadavg()[0]:.1f}", ""]
        told += ["| | of a core | |", "|---|---:|---|", *_idle(home, count, seconds), "", *_killed(home)]
    finally:
        for want in service.store.everything():
            service.delete(want.name, CALLER)
    text = HEAD + "\n".join(told) + "\n"
    (Path(__file__).parent / "serve.md").write_text(text)
    print(text)


def _idle(home: Path, count: int, seconds: int) -> Iterator[str]:
    rounds = compose.rounds(home)
    loop = threading.Thread(target=rounds.run)
    loop.start()
    _await_passes(rounds, count)
    before, servers, start = _taken(rounds), _servers(home), time.monotonic()
    time.sleep(seconds)
    quick, full, passes, made = (after - earlier for after, earlier in zip(_taken(rounds), before, strict=True))
    elapsed, served = time.monotonic() - start, _servers(home) - servers
    rounds.stop()
    loop.join()
    yield f"| quick looks | {quick / elapsed:.2%} | {made:.0f} rounds, {quick / max(made, 1) / count * 1e6:.0f} µs an instance |"
    yield f"| full looks | {full / elapsed:.2%} | {passes:.0f} of them, {full / max(passes, 1) * 1000:.0f} ms each, in our process |"
    yield f"| both | {(quick + full) / elapsed:.2%} | over {elapsed:.0f} s |"
    yield f"| the servers themselves | {served / elapsed:.2%} | PostgreSQL, PgBouncer, keepers, sweepers meanwhile, with what they answer |"
    sampler = Sampler(lambda: compose.service(home), Samples())
    thread = threading.Thread(target=sampler.run)
    used, start = time.process_time(), time.monotonic()
    thread.start()
    time.sleep(min(seconds, 60))
    sampler.stop()
    thread.join()
    yield f"| measuring for Monitoring | {(time.process_time() - used) / (time.monotonic() - start):.2%} | every 15 s, apart from both |"


def _servers(home: Path) -> float:
    """Return processor seconds of all processes below a home, with those of their children that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if str(home).encode() in stat.with_name("cmdline").read_bytes() or str(stat.with_name("cwd").readlink()).startswith(str(home)):
                ticks += sum(map(int, stat.read_bytes().rpartition(b")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _await_passes(rounds: Rounds, count: int) -> None:
    """Wait until each instance was looked at once: the first looks come all together."""
    while rounds.pulse.passes["right"] < count:
        time.sleep(0.1)
    time.sleep(2)


def _taken(rounds: Rounds) -> tuple[float, float, float, float]:
    """Return processor seconds of quick looks and of everything else, full looks, rounds."""
    quick = rounds.pulse.quick_seconds
    return quick, time.process_time() - quick, float(sum(rounds.pulse.passes.values())), float(rounds.pulse.rounds)


def _killed(home: Path) -> Iterator[str]:
    rounds = compose.rounds(home)
    loop = threading.Thread(target=rounds.run)
    loop.start()
    service = compose.service(home)
    want = service.store.find("i0")
    times = []
    for _ in range(KILLS):
        _await_calm(rounds)
        server = service.host.observe(want).server
        found = process.identify(server.pid)
        assert found is not None
        start = time.monotonic()
        process.send(found, signal.SIGKILL)
        while not (service.host.quick(want).answers and _pid(home, want.id) != server.pid):
            time.sleep(0.005)
        times.append(time.monotonic() - start)
    rounds.stop()
    loop.join()
    middle, worst, load = statistics.median(times), max(times), os.getloadavg()[0]
    yield f"A killed postmaster answers again: median {middle:.2f} s, worst {worst:.2f} s of {KILLS} kills in a row; load {load:.1f}."


def _await_calm(rounds: Rounds) -> None:
    """Wait until nothing has been looked at in full for some seconds."""
    seen = -1
    while seen != sum(rounds.pulse.passes.values()):
        seen = sum(rounds.pulse.passes.values())
        time.sleep(5)


def _pid(home: Path, instance_id: str) -> int:
    text = Path(home / "instances" / instance_id / "pg" / "data" / "postmaster.pid")
    found = re.match(r"\d+", text.read_text()) if text.exists() else None
    return int(found[0]) if found is not None else 0


if __name__ == "__main__":
    main()
