"""Python with psycopg 3, which stands on libpq: sslmode, CA, SNI, channel binding, keepalive and passfile are libpq's own (_libpq.py).

Parameters go to the server; a query is prepared by name at its sixth run (_python.py). A cursor is the client's, which reads a result
whole, unless it has a name: then it is DECLAREd in the transaction that it opens, and only `withhold=True` outlives it
(https://www.psycopg.org/psycopg3/docs/advanced/cursors.html).
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq, _python
from howdah.phrase import say

PROGRAM = '''\
"""Connect to {label}, run a query with a parameter, and say whether the connection is encrypted."""

import psycopg

CONNECT = {{
{connect}
}}

with psycopg.connect(**CONNECT) as connection:
    answer = connection.execute("SELECT 6 * %s::int", (7,)).fetchone()[0]
{looking}

print("answer:", answer)
print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}'''


def snippet(target: Target) -> Snippet:
    """Return the program."""
    server = f'connection.execute("{_python.asked(target)}").fetchone()[0]'
    text = PROGRAM.format(
        label=target.label,
        connect=_python.indented(_connect(target), 1),
        looking=_python.indented(_python.looking(target, server, "connection.pgconn.ssl_in_use"), 1),
        witness=_python.witness(target),
        ending=_python.ending(target),
    )
    needs = (_python.PSYCOPG,)
    return Snippet("python", say("Python, psycopg 3"), "python", text, f"{target.label}.py", needs, _libpq.notes(target))


def _connect(target: Target) -> list[str]:
    pairs = _libpq.keywords(target) | {"port": target.endpoint.port, "connect_timeout": _python.TIMEOUT_SECONDS}
    # psycopg opens a transaction before the first statement; PgBouncer refuses BEGIN in statement mode.
    commits = ['"autocommit": True,  # statement mode refuses BEGIN'] if target.pool_mode == "statement" else []
    return [*_python.entries(pairs), *_python.preparing(target), *commits]
