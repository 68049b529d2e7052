"""Python with psycopg 2, which stands on libpq: sslmode, CA, SNI, channel binding, keepalive and passfile are libpq's own (_libpq.py).

It puts parameters into the statement itself and prepares nothing, so that transaction mode takes nothing from it
(https://www.psycopg.org/docs/usage.html, "Passing parameters to SQL queries"). A named cursor is DECLAREd in the transaction that it
opens; only `withhold=True` outlives it (https://www.psycopg.org/docs/usage.html, "Server side cursors").
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq, _python
from howdah.phrase import say

PROGRAM = '''\
"""Connect to {label}, run a query with a parameter, and say whether the connection is encrypted."""

import psycopg2

CONNECT = {{
{connect}
}}

connection = psycopg2.connect(**CONNECT)
try:
{autocommit}    with connection.cursor() as cursor:
        cursor.execute("SELECT 6 * %s::int", (7,))
        answer = cursor.fetchone()[0]
{looking}
finally:
    connection.close()

print("answer:", answer)
print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}'''


def snippet(target: Target) -> Snippet:
    """Return the program."""
    pairs = _libpq.keywords(target) | {"port": target.endpoint.port, "connect_timeout": _python.TIMEOUT_SECONDS}
    asking = [f'cursor.execute("{_python.asked(target)}")', *_python.looking(target, "cursor.fetchone()[0]", "connection.info.ssl_in_use")]
    # psycopg2 opens a transaction before the first statement; PgBouncer refuses BEGIN in statement mode.
    autocommit = "    connection.autocommit = True  # statement mode refuses BEGIN\n" if target.pool_mode == "statement" else ""
    text = PROGRAM.format(
        label=target.label,
        connect=_python.indented(_python.entries(pairs), 1),
        autocommit=autocommit,
        looking=_python.indented(asking, 2),
        witness=_python.witness(target),
        ending=_python.ending(target),
    )
    return Snippet("psycopg2", say("Python, psycopg 2"), "python", text, f"{target.label}.py", ("psycopg2-binary",), _libpq.notes(target))
