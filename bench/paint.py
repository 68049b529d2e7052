"""How soon each page of the console is painted, and what it weighs: `python -m bench.paint [ROUNDS]`, five unless told.

It writes `bench/paint.md`. A real instance, `serve` as a process of its own, Debian's Chromium over loopback; what the browser itself says
of its first contentful paint is taken, with styles and scripts in its cache, as for everybody who has seen a page before.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.real.instances import place
from tests.real.served import PAGES, chromium_here, enter, serving, whole_weight

HEAD = """# The console's pages: first paint and weight

Written by `python -m bench.paint`. Aims: first paint under 200 ms on loopback, a page under 100 kB. The weight is that of the page itself;
styles and scripts come once, compressed, and are kept by the browser.

"""
PAINTED = """() => new Promise((resolve) => new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
    if (entry.name === "first-contentful-paint") resolve(entry.startTime);
})).observe({ type: "paint", buffered: true }))"""
FIRST_BYTE = "() => performance.getEntriesByType('navigation')[0].responseStart"


def main() -> None:
    """Measure, print, and write it down."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seen: dict[str, list[tuple[float, float, int]]] = {}
    with place() as here:
        here.create("shop")
        with serving(here.home) as served, chromium_here() as chromium:
            page = enter(chromium, served)
            for number in range(rounds + 1):  # the first is not counted: it fills the cache
                for name, path in PAGES.items():
                    answer = page.goto(path)
                    assert answer is not None
                    told = float(page.evaluate(PAINTED)), float(page.evaluate(FIRST_BYTE)), len(answer.body())
                    if number:
                        seen.setdefault(name, []).append(told)
            cold = whole_weight(enter(chromium, served), PAGES["monitoring"])
    rows = [
        f"| {name} | {statistics.median(each[0] for each in all_):.0f} ms | {min(each[0] for each in all_):.0f} ms "
        f"| {statistics.median(each[1] for each in all_):.0f} ms | {all_[-1][2] / 1000:.1f} kB |"
        for name, all_ in seen.items()
    ]
    about = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores; Linux {platform.release()}; load {os.getloadavg()[0]:.1f}"
    heading = ["| page | first paint, median | best | first byte | weight |", "|---|---:|---:|---:|---:|"]
    lines = [
        f"{about}; {rounds} rounds",
        "",
        *heading,
        *rows,
        "",
        f"The heaviest, with all that it needs, in a browser that has nothing: {cold / 1000:.0f} kB.",
    ]
    text = HEAD + "\n".join(lines) + "\n"
    (Path(__file__).parent / "paint.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
