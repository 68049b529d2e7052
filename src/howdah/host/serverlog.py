"""What a PostgreSQL server says in its logs when it gives up: found, stripped of prefixes, and told apart by whose fault it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from howdah.core.layout import Layout
from howdah.host import files, process
from howdah.phrase import Phrase

# What the server says (with lc_messages C) when it is the configuration that stops it; sockets, locks and disks are not.
_CONFIGURATION = re.compile(
    r"contains errors|nvalid value|valid range|unrecognized configuration parameter|must be less than|requires .?wal_level"
    r"|cannot be enabled|could not map anonymous shared memory|huge pages|could not load|certificate|private key"
    r"|not supported by this build|could not access file|undefined symbol|incompatible library"
)

_MACHINE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|Too many open files|out of file descriptors"
    r"|wrote only \d+ of|could not fork|Resource temporarily unavailable|out of memory"
)
NOTHING = "it left no words"
_ENTRY = re.compile(r"(?:^|.*?[\s\]])(LOG|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|CONTEXT):  (.*)")
_ROUTINE = (
    "skipping missing",
    "starting Postgre",
    "listening on",
    "could not open directory",
    "database system",
    "redirecting",
    "ending log",
)
_SUMMARY = re.compile(r"contains errors|could not load|could not create any|no socket created")


def log_files(layout: Layout) -> tuple[Path, ...]:
    """Return the files that the server writes its log to now: what it started with, and the collector's."""
    named = (line.partition(" ")[2] for line in (files.read(layout.data / "current_logfiles") or "").splitlines())
    collected = tuple(layout.data / name for name in named if name)
    return (layout.log / "startup.log", *collected)


def words(layout: Layout) -> str:
    """Return the reason that the server gave last in its logs."""
    return reason("\n".join("\n".join(process.tail(path, 40)) for path in log_files(layout)))


def reason(log: str) -> str:
    """Return the reason for the last fatal error in a server's log, without prefixes; its last telling line when there is none.

    >>> reason('LOG:  invalid value for parameter "work_mem": "lots"\\nFATAL:  configuration file "/c" contains errors')
    'invalid value for parameter "work_mem": "lots"'
    """
    entries = [(found[1], found[2].strip()) for line in log.splitlines() if (found := _ENTRY.match(line))]
    fatal = max((i for i, (level, _) in enumerate(entries) if level in ("FATAL", "PANIC")), default=None)
    if fatal is None:
        return _last(log)
    said = [entries[fatal][1], *_details(entries, fatal)]
    if _SUMMARY.search(entries[fatal][1]):
        before = [
            text
            for i, (level, message) in enumerate(entries[:fatal])
            if level in ("LOG", "ERROR", "WARNING") and not message.startswith(_ROUTINE)
            for text in (message, *_details(entries, i))
        ]
        said = before or said
    return "; ".join(said)


def _last(log: str) -> str:
    """Return the last line that tells something.

    >>> _last('LOG:  could not write file "postmaster.opts": No space left on device\\nLOG:  database system is shut down')
    'could not write file "postmaster.opts": No space left on device'
    """
    lines = [found[2] if (found := _ENTRY.match(line)) else line for line in log.strip().splitlines()]
    return ([line for line in lines if not line.startswith(_ROUTINE)] or [NOTHING])[-1]


def _details(entries: Sequence[tuple[str, str]], at: int) -> list[str]:
    found = []
    for level, text in entries[at + 1 :]:
        if level not in ("DETAIL", "HINT", "CONTEXT"):
            break
        found.append(text)
    return found


def cure(said: str) -> Phrase | None:
    """Return what to do about a reason, as the table of messages has it; None for one that it does not know."""
    from howdah.catalog.messages import cure as known  # only a failure pays for the table

    return known(said, "PostgreSQL")


def of_machine(said: str) -> bool:
    """Tell whether a reason blames what the machine lacks at the moment: room, descriptors, memory, processes.

    >>> of_machine('could not write lock file "postmaster.pid": No space left on device')
    True
    """
    return _MACHINE.search(said) is not None


def of_configuration(said: str) -> bool:
    """Tell whether a reason blames the configuration, and neither sockets, locks nor disks.

    >>> of_configuration("could not bind IPv4 address"), of_configuration('could not access file "nope"')
    (False, True)
    """
    return _CONFIGURATION.search(said) is not None
