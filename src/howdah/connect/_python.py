"""What the Python clients share: literals as lines of a program, who says whether a connection is encrypted, and prepared statements."""

from __future__ import annotations

from collections.abc import Mapping

from howdah.connect import Target
from howdah.connect._driver import BEHIND, TIMEOUT_SECONDS, asked, witness

__all__ = ["PSYCOPG", "TIMEOUT_SECONDS", "asked", "ending", "entries", "indented", "literal", "looking", "preparing", "witness"]

# 3.2 is the first that knows whether its libpq can close a prepared statement by protocol.
PSYCOPG = "psycopg[binary]>=3.2"


def entries(pairs: Mapping[str, str | int | bool]) -> list[str]:
    """Return one line of a dict display for each pair."""
    return [f'"{key}": {literal(value)},' for key, value in pairs.items()]


def literal(value: str | int | bool) -> str:
    """Return a value as Python's own `repr` quotes it, in double quotes where that takes no escape more.

    >>> print(literal("app"), literal('o"b'), literal("o'b"), literal(5432))
    "app" 'o"b' "o'b" 5432
    """
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def indented(lines: list[str], levels: int) -> str:
    """Return the lines as one text, four blanks to a level."""
    return "\n".join(" " * 4 * levels + line for line in lines)


def preparing(target: Target) -> list[str]:
    """Return the `prepare_threshold` that psycopg 3 needs here; none on a connection of its own.

    psycopg prepares a query at its sixth run (https://www.psycopg.org/psycopg3/docs/advanced/prepare.html). PgBouncer carries such
    statements and the protocol's Close from 1.21 on, DEALLOCATE ALL from 1.22 on, a DEALLOCATE of one never: psycopg sends that one where
    libpq is older than 17 (`BaseConnection._deallocate`).
    """
    if not target.shares:
        return []
    if not target.prepared:
        return [
            "# The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.",
            '"prepare_threshold": None,',
        ]
    return [
        "# The pooler carries prepared statements, and their end only as the protocol's Close, which libpq sends from 17 on.",
        '"prepare_threshold": 5 if psycopg.capabilities.has_send_close_prepared() else None,',
    ]


def looking(target: Target, server: str, client: str) -> list[str]:
    """Return the lines that ask `server`, words that ask PostgreSQL, and, through the pooler, `client`, the driver's own end, too."""
    return [f"encrypted = {client}", f"behind = {server}"] if target.pooled else [f"encrypted = {server}"]


def ending(target: Target) -> str:
    """Return the last lines of a program: a connection that was to be encrypted and is not fails it."""
    told = f'print("{BEHIND}:", "yes" if behind else "no")\n' if target.pooled else ""
    if target.sslmode == "disable":
        return told
    wanted = "(encrypted and behind)" if target.pooled else "encrypted"
    return f'{told}if not {wanted}:\n    raise SystemExit("cannot go on: the connection is not encrypted")\n'
