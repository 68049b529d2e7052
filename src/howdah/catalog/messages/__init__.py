"""What PostgreSQL, PgBouncer, its keeper and drivers say, to clients, at a start that fails and in logs; why, and what to do about it.

Every entry is produced on real servers by the tests, and a log of theirs that holds an error without an entry is a failure. What an
application's own statement is told (a syntax error, a missing table) is the manual's matter and not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from howdah.catalog.messages.clients import CLIENTS
from howdah.catalog.messages.drivers import DRIVERS
from howdah.catalog.messages.logs import LOGS
from howdah.catalog.messages.message import Message, Origin, Where
from howdah.catalog.messages.starts import STARTS
from howdah.phrase import Phrase

__all__ = ["BY_PLACE", "MESSAGES", "Message", "Origin", "Where", "cure"]

BY_PLACE: Final[Mapping[Where, Sequence[Message]]] = {"client": CLIENTS, "driver": DRIVERS, "start": STARTS, "log": LOGS}
MESSAGES: Final = (*CLIENTS, *DRIVERS, *STARTS, *LOGS)


def cure(said: str, origin: Origin) -> Phrase | None:
    """Return what to do about the words with which a server did not start; None where the table does not know them.

    >>> str(cure("database files are incompatible with server", "PostgreSQL"))[:24]
    'install the PostgreSQL o'
    >>> cure("something new", "PostgreSQL")
    """
    return next((known.cure for known in STARTS if known.origin == origin and known.is_in(said)), None)
