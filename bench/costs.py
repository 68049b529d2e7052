"""What processes cost a machine: processor time and memory, read from /proc, their children's with them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path


def family(roots: Sequence[int]) -> list[int]:
    """Return processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, ahead = [], list(roots)
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return list(dict.fromkeys(found))


def spent(roots: Sequence[int]) -> float:
    """Return the milliseconds of processor time of processes, of their children, and of those children that have ended."""
    total = 0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(each) for each in told[11:15])
    return total * 1000 / os.sysconf("SC_CLK_TCK")


def resident(roots: Sequence[int]) -> float:
    """Return the KiB that processes hold, what they share divided among them."""
    total = 0.0
    for pid in family(roots):
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) if found else 0
    return total
