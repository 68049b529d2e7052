"""What one entry of the table of messages says. `…` stands for what changes; nothing here knows which messages there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from howdah.phrase import Phrase

Origin = Literal[
    "PostgreSQL",
    "PgBouncer",
    "keeper",
    "libpq",
    "ODBC",
    "PHP",
    "Python",
    "asyncpg",
    "SQLAlchemy",
    "Node.js",
    "Prisma",
    "JDBC",
    "HikariCP",
    "Go",
    "Rust",
    "sqlx",
]
Where = Literal["client", "driver", "start", "log"]


@dataclass(frozen=True)
class Message:
    """One message: who says it, in which words, why, what to do about it; `versions` of that program where others say it otherwise."""

    id: str
    origin: Origin
    words: str
    cause: Phrase
    cure: Phrase
    versions: tuple[str, ...] = ()

    def is_in(self, text: str) -> bool:
        """Tell whether these words were said.

        >>> Message("a", "PostgreSQL", "no room in …, ever", Phrase(""), Phrase("")).is_in("FATAL:  no room in /data, ever")
        True
        """
        return re.search(".*".join(map(re.escape, self.words.split("…"))), text, re.DOTALL) is not None
