"""How the room for an instance's logs is divided among those who write them, so that together they stay within one limit.

Each writer has its own way to stay within its share: a sweeper beside PostgreSQL, the keeper beside PgBouncer, Howdah itself for its own.
"""

from __future__ import annotations

from dataclasses import dataclass

# of 1000: two generations of the pooler may be alive, each with a log and the one before it, and each with a keeper's
_SERVER_KEPT, _SERVER_MOST, _POOLER, _KEEPER, _HOWDAH = 600, 780, 40, 5, 5


@dataclass(frozen=True)
class Shares:
    """Bytes for each writer of logs."""

    server_kept: int  # what is left of PostgreSQL's logs when they are swept
    server_most: int  # what they may grow to before the next sweep
    pooler: int  # one file of PgBouncer's log
    keeper: int  # one file of the keeper's
    howdah: int  # one file of howdah's own


def shares(limit: int) -> Shares:
    """Return what each may have of the limit of one instance, in bytes.

    >>> each = shares(500_000_000)
    >>> each.server_most + 2 * 2 * (each.pooler + each.keeper) + 2 * 2 * each.howdah
    490000000
    """
    return Shares(*(limit * part // 1000 for part in (_SERVER_KEPT, _SERVER_MOST, _POOLER, _KEEPER, _HOWDAH)))
