"""How much room an instance takes on its disk, and how much is left there: figures, and when they ask for somebody's attention."""

from __future__ import annotations

from dataclasses import dataclass

SCARCE = 0.15


@dataclass(frozen=True)
class Room:
    """Bytes on disk. `whole` is False where there were too many files to count them all at a glance: `data` is then the least."""

    data: int
    wal: int
    logs: int
    logs_most: int
    free: int
    total: int
    whole: bool = True

    @property
    def share(self) -> float:
        """The part of the file system that is free, 0 to 1."""
        return self.free / self.total if self.total else 0.0
