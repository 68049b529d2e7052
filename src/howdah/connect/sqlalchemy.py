"""Python with SQLAlchemy 2 on psycopg 3: an engine with a pool that suits the hop.

TLS, SNI, channel binding and keepalive are libpq's (_libpq.py), prepared statements psycopg's (_python.py): what SQLAlchemy caches is the
text that it compiles (https://docs.sqlalchemy.org/en/20/core/connections.html, "SQL Compilation Caching"). A result is read whole, unless
`stream_results` asks for a cursor on the server, which is DECLAREd in the transaction
(https://docs.sqlalchemy.org/en/20/dialects/postgresql.html, "Server Side Cursors").
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq, _python
from howdah.phrase import say

PROGRAM = '''\
"""Connect to {label}, run a query with a parameter, and say whether the connection is encrypted."""

{imports}
engine = create_engine(
    URL.create(
        "postgresql+psycopg",
        host={host},
        port={port},
        database={database},
        username={user},
    ),
    connect_args={{
{connect}
    }},
{pool}
)

with engine.connect() as connection:
    answer = connection.execute(text("SELECT 6 * CAST(:number AS int)"), {{"number": 7}}).scalar_one()
{looking}
engine.dispose()

print("answer:", answer)
print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}'''


def snippet(target: Target) -> Snippet:
    """Return the program."""
    server = f'connection.execute(text("{_python.asked(target)}")).scalar_one()'
    client = "connection.connection.driver_connection.pgconn.ssl_in_use"
    pairs = _libpq.security(target) | {"connect_timeout": _python.TIMEOUT_SECONDS}
    text = PROGRAM.format(
        label=target.label,
        imports=_imports(target),
        host=_python.literal(target.endpoint.host),
        port=target.endpoint.port,
        database=_python.literal(target.database),
        user=_python.literal(target.user),
        connect=_python.indented([*_python.entries(pairs), *_python.preparing(target)], 2),
        pool=_python.indented(_pool(target), 1),
        looking=_python.indented(_python.looking(target, server, client), 1),
        witness=_python.witness(target),
        ending=_python.ending(target),
    )
    needs = ("sqlalchemy>=2.0", _python.PSYCOPG)
    return Snippet("sqlalchemy", say("Python, SQLAlchemy"), "python", text, f"{target.label}.py", needs, _libpq.notes(target))


def _imports(target: Target) -> str:
    driver = "import psycopg\n" if target.shares and target.prepared else ""
    pool = "NullPool, " if target.pool_mode == "session" else ""
    return f"{driver}from sqlalchemy import URL, {pool}create_engine, text\n"


def _pool(target: Target) -> list[str]:
    # https://docs.sqlalchemy.org/en/20/core/pooling.html: NullPool opens and closes for each use; pool_pre_ping asks before each use.
    if target.pool_mode == "session":
        return [
            "# In session mode a connection that waits in a pool here keeps a server connection from everybody else.",
            "poolclass=NullPool,",
        ]
    lines = ["pool_pre_ping=True,  # a connection that ended while it waited in the pool is replaced, not handed out"]
    if target.pool_mode == "statement":
        # The dialect looks for hstore inside a transaction when it first connects (TypeInfo.fetch).
        lines += [
            'isolation_level="AUTOCOMMIT",  # statement mode refuses BEGIN',
            "use_native_hstore=False,  # looking for hstore takes a transaction",
        ]
    return lines
