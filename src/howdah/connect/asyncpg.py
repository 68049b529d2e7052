"""Python with asyncpg, which speaks the protocol itself.

By its own source (asyncpg/connect_utils.py, 0.32): `ssl="require"` verifies nothing, unless ~/.postgresql/root.crt exists, as libpq does;
an SSLContext verifies as that context says, and a server without TLS is refused. It sends SNI and gives the host's name to the check; it
knows no channel binding. It reads passfiles itself, and takes no backslash out of what it finds there. Every query is prepared by name
unless statement_cache_size is 0; then by the empty name, in a round trip of its own, so that outside a transaction the next client's
statement may stand in its place (https://magicstack.github.io/asyncpg/current/faq.html, "prepared statement errors"). A cursor is a
portal, within a transaction alone (https://magicstack.github.io/asyncpg/current/api/index.html, "Cursors"). TCP keepalive is not switched
on.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _python
from howdah.errors import Unsupported
from howdah.phrase import Phrase, say

PROGRAM = '''\
"""Connect to {label}, run a query with a parameter, and say whether the connection is encrypted."""

import asyncio
{imports}
import asyncpg

CONNECT = {{
{connect}
}}


async def main():
    connection = await asyncpg.connect(**CONNECT)
    try:
{query}
    finally:
        await connection.close()

    print("answer:", answer)
    print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}


asyncio.run(main())
'''
# There is no public word for it.
SEEN_BY_CLIENT = 'connection._transport.get_extra_info("ssl_object") is not None'


def snippet(target: Target) -> Snippet:
    """Return the program; statement mode cannot be served, since preparing and running take two round trips."""
    if target.pool_mode == "statement" and not target.prepared:
        hint = say("use psycopg (--client python), the direct endpoint, or another pool_mode")
        raise Unsupported("driver_unfit", say("cannot use {driver} with pool_mode {mode}", driver="asyncpg", mode="statement"), hint)
    if target.passfile is not None:
        _driver.refuse_characters(target, "\\:", "PGPASSFILE (asyncpg)", target.database, target.user)
    asked = 'answer = await connection.fetchval("SELECT 6 * $1::int", 7)'
    lines = [asked, *_python.looking(target, f'await connection.fetchval("{_python.asked(target)}")', SEEN_BY_CLIENT)]
    own = "async with connection.transaction():  # what asyncpg prepares in it is still there when it runs"
    text = PROGRAM.format(
        label=target.label,
        imports="import ssl\n" if target.sslmode == "verify-full" else "",
        connect=_python.indented([*_connect(target), *_cache(target)], 1),
        query=_python.indented([own, *(f"    {line}" for line in lines)] if _fragile(target) else lines, 2),
        witness=_python.witness(target),
        ending=_python.indented(_python.ending(target).splitlines(), 1),
    )
    notes = (*_driver.notes(target), *_notes(target))
    return Snippet("asyncpg", say("Python, asyncpg"), "python", text, f"{target.label}.py", ("asyncpg",), notes)


def _connect(target: Target) -> list[str]:
    place: dict[str, str | int | bool] = {"host": target.endpoint.host, "port": target.endpoint.port}
    place |= {"database": target.database, "user": target.user, "timeout": _python.TIMEOUT_SECONDS}
    if target.passfile is not None:
        place["passfile"] = str(target.passfile)
    return [*_python.entries(place), *_tls(target)]


def _tls(target: Target) -> list[str]:
    if target.sslmode == "verify-full":
        return [f'"ssl": ssl.create_default_context(cafile={_python.literal(str(target.ca_file))}),  # verify-full: chain and host name']
    return ['"ssl": "require",' if target.sslmode == "require" else '"ssl": False,  # disable']


def _fragile(target: Target) -> bool:
    return target.shares and not target.prepared


def _cache(target: Target) -> list[str]:
    if not _fragile(target):
        return []
    return [
        "# The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.",
        '"statement_cache_size": 0,',
    ]


def _notes(target: Target) -> tuple[Phrase, ...]:
    if _fragile(target):
        return (say("asyncpg prepares and runs in two round trips: keep every query in a transaction here, or use the direct endpoint"),)
    return ()
