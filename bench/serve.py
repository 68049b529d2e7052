"""What it costs to keep the loop running over idle instances: `python -m bench.serve [INSTANCES] [SECONDS]`, 50 and 330 unless told.

They are real instances, of the size `tiny`, every second one with a pooler, made in a home of the bench's own and deleted at the end.
What is measured is processor time: of the quick looks by the loop itself, of everything else by the kernel, of measuring for Monitoring
apart from both. A third figure is how soon a killed postmaster has a successor.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from howdah import compose
from howdah.core.wishes import Creation
from howdah.host import process
from howdah.service.caller import Caller
from howdah.service.rounds import Rounds
from howdah.service.sampling import Sampler, Samples

CALLER = Caller("bench", "bench.serve", lambda question: None, lambda told: None)
KILLS = 5


def main() -> None:
    """Measure, and print."""
    count, seconds = (int(word) for word in (sys.argv[1:] + ["50", "330"][len(sys.argv) - 1 :])[:2])
    home = Path(tempfile.mkdtemp(prefix="b"))
    home.chmod(0o711)
    service = compose.service(home, trash_seconds=0.0)
    try:
        for number in range(count):
            pooler: dict[str, dict[str, str]] = {"pooler": {}} if number % 2 == 0 else {}
            service.create(Creation(f"i{number}", size="tiny", extensions=pooler), CALLER)
        print(f"{count} instances of size tiny, {(count + 1) // 2} with a pooler; load {os.getloadavg()[0]:.1f}")
        _idle(home, count, seconds)
        _killed(home)
    finally:
        for want in service.store.everything():
            service.delete(want.name, CALLER)


def _idle(home: Path, count: int, seconds: int) -> None:
    rounds = compose.rounds(home)
    loop = threading.Thread(target=rounds.run)
    loop.start()
    _await_passes(rounds, count)
    before, start = _taken(rounds), time.monotonic()
    time.sleep(seconds)
    quick, full, passes, made = (after - earlier for after, earlier in zip(_taken(rounds), before, strict=True))
    elapsed = time.monotonic() - start
    rounds.stop()
    loop.join()
    print(f"over {elapsed:.0f} s: {made:.0f} rounds, {passes:.0f} full looks")
    print(f"quick looks   {quick / elapsed:.2%} of a core, {quick / max(made, 1) / count * 1e6:.0f} µs an instance")
    print(f"full looks    {full / elapsed:.2%} of a core, {full / max(passes, 1) * 1000:.1f} ms each (in our process)")
    print(f"both          {(quick + full) / elapsed:.2%} of a core")
    samples = Samples()
    sampler = Sampler(lambda: compose.service(home), samples)
    thread = threading.Thread(target=sampler.run)
    used, start = time.process_time(), time.monotonic()
    thread.start()
    time.sleep(min(seconds, 60))
    sampler.stop()
    thread.join()
    print(f"measuring     {(time.process_time() - used) / (time.monotonic() - start):.2%} of a core, apart from both")


def _await_passes(rounds: Rounds, count: int) -> None:
    """Wait until each instance was looked at once: the first looks come all together."""
    while rounds.pulse.passes["right"] < count:
        time.sleep(0.1)
    time.sleep(2)


def _taken(rounds: Rounds) -> tuple[float, float, float, float]:
    """Return processor seconds of quick looks and of everything else, full looks, rounds."""
    quick = rounds.pulse.quick_seconds
    return quick, time.process_time() - quick, float(sum(rounds.pulse.passes.values())), float(rounds.pulse.rounds)


def _killed(home: Path) -> None:
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
    middle, worst = statistics.median(times), max(times)
    print(f"killed → answers again: median {middle:.2f} s, worst {worst:.2f} s of {KILLS}; load {os.getloadavg()[0]:.1f}")


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
