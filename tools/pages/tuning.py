"""Fill the figures of the guide to tuning with what `python -m bench.pools` and `bench.compare` measured last.

A figure stands between `<!-- measured: NAME -->` and `<!-- measured -->`, and is written by `tools/reference.py`; what was never measured
stays as people wrote it.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = ROOT / "docs" / "how-to" / "tune-the-pooler.md"
_PLACE = re.compile(r"(<!-- measured: (\w+) -->\n)(.*?)(<!-- measured -->)", re.DOTALL)


def page() -> str:
    """Return the guide with today's figures."""
    return _PLACE.sub(lambda found: f"{found[1]}{_words(found[2]) or found[3]}{found[4]}", GUIDE.read_text("utf-8"))


def _words(name: str) -> str | None:
    file, tell = _SOURCES[name]
    path = ROOT / "bench" / file
    return tell(json.loads(path.read_text("utf-8"))) if path.exists() else None


def _pools(told: Mapping[str, Any]) -> str:
    """Tell the throughput by the size of the pool."""
    rows = "".join(f"| {each} | {_middle(rates)} |\n" for each, rates in told["rates"].items())
    head = f"{told['clients']} clients, PgBouncer {told['pgbouncer'].removeprefix('PgBouncer ')}, {told['rounds']} rounds of short reads:"
    return f"{head}\n\n| server connections a core | reads a second |\n|---:|---:|\n{rows}\n"


def _middle(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} ({min(rates):.0f}–{max(rates):.0f})"


def _crowded(told: Mapping[str, Any]) -> str | None:
    """Tell what a thousand clients do to each way in."""
    loads = [each for each in told["loads"] if each["protocol"] == "extended" and each["rates"]]
    rate = {(each["arm"], each["clients"]): statistics.median(each["rates"]) for each in loads}
    few, many = min(size for _, size in rate), max(size for _, size in rate)
    share = {arm: rate[arm, many] / rate[arm, few] for arm in ("direct", "howdah") if (arm, many) in rate}
    if len(share) < len(("direct", "howdah")):
        return None
    return f"With {many} clients, direct connections did {share['direct']:.0%} of what {few} did; pooled ones did {share['howdah']:.0%}.\n"


def _idle(told: Mapping[str, Any]) -> str:
    """Tell what an idle client costs."""
    own, plain = (statistics.median(told["memory"][arm]) for arm in ("howdah", "direct"))
    direct = f"a direct one costs {plain / 1024:.1f} MiB"
    return f"A client that is idle costs the pooler {own:.0f} KiB over TLS, and PostgreSQL nothing; {direct}.\n"


_SOURCES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str | None]]] = {
    "pools": ("pools.json", _pools),
    "crowded": ("results.json", _crowded),
    "idle": ("results.json", _idle),
}
