"""ODBC with psqlODBC, which stands on libpq: the connection string and the DSN, and a program (Python, pyodbc) that uses the string.

https://odbc.postgresql.org/docs/config-opt.html: SSLmode is libpq's; what psqlODBC has no option for goes to libpq by pqopt (CA,
passfile, channel binding). UseServerSidePrepare=1, the default, prepares by name; 0 puts parameters into the statement. UseDeclareFetch=1
reads through a cursor in a transaction; 0, the default, reads a result whole. KeepaliveTime and SNI are libpq's. ODBC cannot be asked
about TLS. Nothing escapes a brace or a semicolon within pqopt.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq, _python
from howdah.phrase import Phrase, say

PROGRAM = '''\
"""Connect to {label}, run a query with a parameter, and say whether the connection is encrypted."""

import os

import pyodbc

pyodbc.pooling = False  # ODBC's own pool would keep connections that the pooler lends
CONNECT = {{
{connect}
}}
if "PGPASSWORD" in os.environ:
    CONNECT["PWD"] = "{{" + os.environ["PGPASSWORD"].replace("}}", "}}}}") + "}}"

string = ";".join(f"{{key}}={{value}}" for key, value in CONNECT.items())
connection = pyodbc.connect(string, timeout={seconds}, autocommit={autocommit})
answer = connection.execute("SELECT 6 * CAST(? AS int)", 7).fetchone()[0]
{looking}
connection.close()

print("answer:", answer)
print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}'''
FORBIDDEN = ";{}'\\\\"


def snippet(target: Target) -> Snippet:
    """Return the program, and a DSN for odbc.ini beside it."""
    _driver.refuse_characters(target, FORBIDDEN, "ODBC")
    pairs = _pairs(target)
    by_server = f'connection.execute("{_driver.asked(target)}").fetchone()[0] == "1"'
    text = PROGRAM.format(
        label=target.label,
        connect=_python.indented(_python.entries(pairs), 1),
        seconds=_driver.TIMEOUT_SECONDS,
        autocommit=target.pool_mode == "statement",
        looking="\n".join(_python.looking(target, by_server, str(_driver.encrypts(target)))),
        witness=_driver.witness(target, promise=True),
        ending=_python.ending(target),
    )
    section = {"Driver": "PostgreSQL Unicode", "Servername": pairs["Server"], "Username": pairs["UID"]}
    section |= {key: value for key, value in pairs.items() if key not in ("Driver", "Server", "UID")}
    files = {
        f"{target.label}.py": text,
        "odbc.ini": f"[{target.label}]\n" + "".join(f"{key}={value.strip('{}')}\n" for key, value in section.items()),
    }
    needs = ("odbc-postgresql", "unixodbc", "pyodbc")
    notes = (*_libpq.notes(target), *_unprepared(target))
    return Snippet("odbc", say("ODBC, psqlODBC"), "python", text, f"{target.label}.py", needs, notes, files)


def _unprepared(target: Target) -> tuple[Phrase, ...]:
    if not target.shares:
        return ()
    return (say("leave UseServerSidePrepare=0: psqlODBC's own named statements break where the pooler carries such"),)


def _pairs(target: Target) -> dict[str, str]:
    found = {"Driver": "{PostgreSQL Unicode}", "Server": target.endpoint.host, "Port": str(target.endpoint.port)}
    found |= {"Database": target.database, "UID": target.user, "SSLmode": target.sslmode}
    further = {key: value for key, value in _libpq.security(target).items() if key != "sslmode"}
    if further:
        found["pqopt"] = "{" + _libpq.conninfo(further) + "}"
    if target.shares:
        # Where PgBouncer carries named statements, psqlODBC 13 breaks: it prepares a name anew that it has used (measured, 1.24 and 1.26).
        found["UseServerSidePrepare"] = "0"
    return found
