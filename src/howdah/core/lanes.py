"""The lanes of a pooler: how many PgBouncers share its port, what each gets of every limit, and how they find each other for a cancel.

A request to cancel comes on a connection of its own, and so to any of them. Its key tells by `peer_id` whose session is meant, and
[peers] where that one is reached. Both are counted from the numbers of the generations alone, so that no file depends on who is
alive: the sessions of older generations are found, too. Arithmetic only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PEERS_SINCE = (1, 19)
MOST = 8
_MOST_UNASKED = 4
# generations before its own whose sessions a pooler can still cancel
_REMEMBERED = 8
_LARGEST_ID = 16_383  # 14 bits of the cancel key (PgBouncer's bouncer.h)
# limits of the whole pooler that each process keeps by itself; 0 stays 0, which turns each of them off
DIVIDED = frozenset({
    "max_client_conn",
    "default_pool_size",
    "min_pool_size",
    "reserve_pool_size",
    "max_db_connections",
    "max_user_connections",
})  # fmt: skip
# of these, each process needs one at least to serve anybody
NEEDED = ("max_client_conn", "default_pool_size", "max_db_connections", "max_user_connections")


@dataclass(frozen=True)
class Lane:
    """One PgBouncer of a generation; both count from 1."""

    generation: int
    number: int
    count: int

    @property
    def id(self) -> int:
        """The peer_id: unique among all that can live at once."""
        return peer_id(self.generation, self.number)

    @property
    def file(self) -> str:
        """What its configuration is called among the wanted files."""
        return "pgbouncer.ini" if self.number == 1 else f"pgbouncer.{self.number}.ini"

    def share(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the settings with each divided limit as this lane's part of it.

        >>> [Lane(1, number, 3).share({"max_client_conn": "100"}) for number in (1, 2, 3)]
        [{'max_client_conn': '34'}, {'max_client_conn': '33'}, {'max_client_conn': '33'}]
        """
        return {name: str(self._part(int(value))) if name in DIVIDED else value for name, value in settings.items()}

    def _part(self, total: int) -> int:
        return total // self.count + (self.number <= total % self.count)

    def peers(self) -> tuple[tuple[int, int], ...]:
        """Return generation and lane of all to whom it may hand a cancel request on: its own generation, and the last ones, as if full."""
        oldest = max(1, self.generation - _REMEMBERED)
        older = [(generation, lane) for generation in range(oldest, self.generation) for lane in range(1, MOST + 1)]
        return (*older, *((self.generation, lane) for lane in range(1, self.count + 1)))


def peer_id(generation: int, lane: int) -> int:
    """Return by what a lane is known to the others.

    >>> peer_id(1, 1), peer_id(1, 8), peer_id(2, 1)
    (9, 16, 17)
    """
    return (generation * MOST + lane - 1) % _LARGEST_ID + 1


def fitting(cores: int) -> int:
    """Return how many processes suit a machine: a transaction costs PgBouncer about half of what it costs PostgreSQL beside it.

    >>> [fitting(cores) for cores in (1, 2, 4, 8, 64)]
    [1, 1, 2, 4, 4]
    """
    return min(max(cores // 2, 1), _MOST_UNASKED)


def of(generation: int, count: int) -> tuple[Lane, ...]:
    """Return the lanes of a generation."""
    return tuple(Lane(generation, number, count) for number in range(1, count + 1))
