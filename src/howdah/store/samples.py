"""What was measured, in a SQLite file of its own, so that the charts go on where they were when `serve` is started again.

It is a convenience: written once a minute, never synced for its own sake, bounded by the spans that are shown, and left out where it cannot
be read or written.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import get_args

from howdah.core.samples import SECONDS, Sample, Span
from howdah.store.file import File, prepare

BUSY_SECONDS = 5
_FIRST = """
CREATE TABLE sample (
    instance_id TEXT NOT NULL,
    span TEXT NOT NULL,
    at REAL NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (instance_id, span, at)
) WITHOUT ROWID
"""
MIGRATIONS = (_FIRST,)


def samples_path(home: Path) -> Path:
    """Return where the file lies."""
    return home / "samples.sqlite3"


class SqliteSamples:
    """A `Shelf` over one connection; used by the thread that opened it."""

    def __init__(self, home: Path) -> None:
        path = samples_path(home)
        prepare(path)
        self._file = File(str(path), MIGRATIONS, BUSY_SECONDS)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def kept(self, now: float) -> Iterator[tuple[str, Span, Sample]]:
        """Return what is not older than its span, oldest first; what cannot be read is left out."""
        for span in get_args(Span):
            chosen = "SELECT instance_id, record FROM sample WHERE span = ? AND at BETWEEN ? AND ? ORDER BY at"
            for instance_id, record in self._file.run(chosen, span, now - SECONDS[span], now):
                read = _read(record)
                if read is not None:
                    yield instance_id, span, read

    def keep(self, made: Iterable[tuple[str, Span, Sample]], there: Collection[str], now: float) -> None:
        """Add samples; drop what is older than its span, and what is of instances that are gone."""
        with self._file.writing(durable=False):
            for instance_id, span, sample in made:
                insert = "INSERT OR REPLACE INTO sample (instance_id, span, at, record) VALUES (?, ?, ?, ?)"
                self._file.run(insert, instance_id, span, sample["at"], json.dumps(sample))
            for span in get_args(Span):
                self._file.run("DELETE FROM sample WHERE span = ? AND at NOT BETWEEN ? AND ?", span, now - SECONDS[span], now + 60.0)
            names = json.dumps([*there])
            self._file.run("DELETE FROM sample WHERE instance_id NOT IN (SELECT value FROM json_each(?))", names)


def _read(record: str) -> Sample | None:
    try:
        read = json.loads(record)
        return {str(name): float(value) for name, value in read.items()} if "at" in read else None
    except (ValueError, TypeError, AttributeError):
        return None
