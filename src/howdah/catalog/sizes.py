"""Named sizes: so much memory and so many cores give these PostgreSQL parameters, which a person's own values override.

Only what follows from memory and cores is set here; a size says nothing of disks, and never looks at the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from howdah.catalog import units
from howdah.errors import Invalid
from howdah.phrase import Phrase, say


@dataclass(frozen=True)
class Size:
    """Memory (MiB) and cores that an instance may count on, and how many direct connections it takes."""

    name: str
    memory: int
    cores: int
    connections: int
    sentence: Phrase


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        size.name: size
        for size in (
            Size("tiny", 256, 1, 40, say("a trial beside many others: 256 MiB, one core")),
            Size("small", 512, 2, 100, say("five of these fit on a laptop: 512 MiB, two cores")),
            Size("medium", 4096, 2, 200, say("one application with real traffic: 4 GiB, two cores")),
            Size("large", 16384, 4, 400, say("a machine mostly its own: 16 GiB, four cores")),
            Size("xlarge", 65536, 16, 800, say("a big machine of its own: 64 GiB, sixteen cores")),
        )
    }
)
DEFAULT = "small"


def find(name: str) -> Size:
    """Return a named size, or refuse the name with the list."""
    if (size := SIZES.get(name)) is None:
        raise Invalid(
            "unknown_size",
            say("cannot use size {name}: no such size", name=repr(name)),
            say("the sizes are {names}", names=", ".join(SIZES)),
        )
    return size


def defaults(name: str, major: int) -> Mapping[str, str]:
    """Return the parameters that a named size gives a server of a major version.

    >>> defaults("small", 15)["shared_buffers"], defaults("small", 15)["max_connections"]
    ('128MB', '100')
    """
    size = find(name)
    return derived(size.memory, size.cores, size.connections, major)


def derived(memory: int, cores: int, connections: int, major: int) -> Mapping[str, str]:
    """Return the parameters that follow from memory (MiB), cores and connections."""
    shared = memory // 4  # the manual's starting point: a quarter; more is left to the system's page cache
    # Three sorts or hashes at once in every connection must still fit beside the shared buffers; never below PostgreSQL's own 4MB.
    work = max(4, (memory - shared) // (3 * connections))
    most_wal = _between(memory, 512, 16384)
    gathered = min(4, cores // 2)
    chosen = {
        "max_connections": str(connections),
        "shared_buffers": _mib(shared),
        "effective_cache_size": _mib(memory * 3 // 4),
        "work_mem": _mib(work),
        "maintenance_work_mem": _mib(_between(memory // 16, 32, 2048)),
        "max_wal_size": _mib(most_wal),
        "min_wal_size": _mib(most_wal // 8),
        "max_worker_processes": str(max(8, cores)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(gathered),
        "max_parallel_maintenance_workers": str(gathered),
    }
    if major >= 18:  # 18 reads by processes of its own, three unless told otherwise
        chosen["io_workers"] = str(_between(cores // 4, 3, 32))
    return MappingProxyType(chosen)


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _mib(amount: int) -> str:
    return units.spell(amount, "MB")
