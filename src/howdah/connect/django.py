"""Django on psycopg 3: the DATABASES setting, and a program around it that tries it.

TLS, SNI, channel binding and keepalive are libpq's, given as OPTIONS (https://docs.djangoproject.com/en/5.2/ref/databases/, "PostgreSQL
connection settings"; _libpq.py). Prepared statements are psycopg's, which Django switches off unless OPTIONS has a prepare_threshold
(django/db/backends/postgresql/base.py). `iterator()` opens a cursor on the server.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq, _python
from howdah.phrase import Phrase, say

PROGRAM = '''\
"""Connect Django to {label}, run a query with a parameter, and say whether the connection is encrypted."""

{imports}
# This is what settings.py takes.
DATABASES = {{
    "default": {{
{settings}
        "OPTIONS": {{
{options}
        }},
    }}
}}

settings.configure(DATABASES=DATABASES)
django.setup()

with connection.cursor() as cursor:
    cursor.execute("SELECT 6 * %s::int", [7])
    answer = cursor.fetchone()[0]
{looking}
connection.close()

print("answer:", answer)
print("encrypted ({witness}):", "yes" if encrypted else "no")
{ending}'''


def snippet(target: Target) -> Snippet:
    """Return the program."""
    seen = _python.looking(target, "cursor.fetchone()[0]", "connection.connection.pgconn.ssl_in_use")
    pairs = _libpq.security(target) | {"connect_timeout": _python.TIMEOUT_SECONDS}
    text = PROGRAM.format(
        label=target.label,
        imports=_imports(target),
        settings=_python.indented(_settings(target), 2),
        options=_python.indented([*_python.entries(pairs), *_python.preparing(target)], 3),
        looking=_python.indented([f'cursor.execute("{_python.asked(target)}")', *seen], 1),
        witness=_python.witness(target),
        ending=_python.ending(target),
    )
    needs = ("django>=4.2", _python.PSYCOPG)
    notes = (*_libpq.notes(target), *_notes(target))
    files = {"databases.py": _databases(target), f"{target.label}.py": text}
    return Snippet("django", say("Python, Django"), "python", text, f"{target.label}.py", needs, notes, files)


def _databases(target: Target) -> str:
    """Return the setting alone, to be imported by settings.py; for `migrate --database direct`, the way past the pooler, too."""
    ways = {"default": target} | ({"direct": target.unpooled} if target.direct is not None else {})
    driver = "import psycopg\n\n" if target.shares and target.prepared else ""
    lines = [line for alias, way in ways.items() for line in (f'"{alias}": {{', *(f"    {each}" for each in _database(way)), "},")]
    return f"{driver}DATABASES = {{\n{_python.indented(lines, 1)}\n}}\n"


def _database(target: Target) -> list[str]:
    pairs = _libpq.security(target) | {"connect_timeout": _python.TIMEOUT_SECONDS}
    options = [*_python.entries(pairs), *_python.preparing(target)]
    return [*_settings(target), '"OPTIONS": {', *(f"    {line}" for line in options), "},"]


def _imports(target: Target) -> str:
    driver = "import psycopg\n" if target.shares and target.prepared else ""
    return f"import django\n{driver}from django.conf import settings\nfrom django.db import connection\n"


def _settings(target: Target) -> list[str]:
    place = {"NAME": target.database, "USER": target.user, "HOST": target.endpoint.host}
    lines = ['"ENGINE": "django.db.backends.postgresql",', *_python.entries(place), f'"PORT": {target.endpoint.port},']
    if target.pool_mode is not None:
        # 0 is Django's default, written down because a settings file that is copied from often has another.
        lines.append('"CONN_MAX_AGE": 0,  # the pooler keeps the connections')
    if target.shares:
        # https://docs.djangoproject.com/en/5.2/ref/databases/#transaction-pooling-server-side-cursors: iterator() declares a cursor
        # WITH HOLD outside a transaction, which the next server connection does not know.
        lines.append('"DISABLE_SERVER_SIDE_CURSORS": True,  # a cursor of iterator() would be missing on the next server connection')
    return lines


def _notes(target: Target) -> tuple[Phrase, ...]:
    if target.pool_mode == "transaction":
        return (say("CONN_MAX_AGE above 0 saves a login for each request; every worker then counts against max_client_conn all the time"),)
    if target.pool_mode == "session":
        return (say("CONN_MAX_AGE above 0 keeps a server connection for every worker all the time"),)
    if target.pool_mode == "statement":
        return (say("transaction.atomic(), ATOMIC_REQUESTS, tests and migrations need the direct endpoint"),)
    return ()
