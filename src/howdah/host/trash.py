"""The trash: data directories of deleted instances, each under the date of its deletion, until they are removed for good or taken back."""

from __future__ import annotations

import time
from pathlib import Path

from howdah.core.layout import Layout
from howdah.host import files, postgres


def place(home: Path, instance_id: str) -> Path | None:
    """Return where an instance's data lies in the trash, the latest where there are several; None where there is none."""
    return next(iter(sorted((home / "trash").glob(f"*-{instance_id}"), reverse=True)), None)


def throw(layout: Layout) -> None:
    """Destroy keys and passwords, then move the data directory under today's date; nothing of the instance is left in its place."""
    # A crash may have left the half of a passfile beside it
    for secret in (layout.passfile, files.beside(layout.passfile), layout.pool, layout.pg / "tls"):
        files.remove(secret)
    if postgres.data_ready(layout.data):
        trash = layout.home / "trash"
        files.make_parents(trash)
        layout.pg.rename(trash / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{layout.id}")
        files.sync_directory(trash)
    files.remove(layout.root)


def take_back(layout: Layout) -> None:
    """Put the data directory back in its place."""
    kept = place(layout.home, layout.id)
    if kept is not None:
        files.make_parents(layout.root)
        kept.rename(layout.pg)
        files.sync_directory(layout.root)


def purge(home: Path, instance_id: str) -> None:
    """Remove an instance's data for good, and its lock; the caller holds its lease."""
    while (kept := place(home, instance_id)) is not None:
        files.remove(kept)
    files.remove(home / "locks" / f"{instance_id}.lock")
