"""PHP with pg_connect, which stands on libpq: sslmode, CA, SNI, channel binding, keepalive and passfile are libpq's own (_libpq.py).

pg_query_params sends parameters in one round trip without a name; pg_prepare names a statement
(https://www.php.net/manual/en/function.pg-query-params.php). pg_pconnect keeps connections from one request to the next, with what was
SET on them (https://www.php.net/manual/en/function.pg-pconnect.php): behind a pooler pg_connect is enough. A result is read whole; a
cursor is a matter of SQL. PHP cannot be asked about TLS.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.connect.node import named
from howdah.phrase import say

PROGRAM = _driver.Program("""\
<?php
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
$connection = pg_connect(@{connect}) or exit(1);
$rows = pg_query_params($connection, 'SELECT 6 * $1::int', [7]) or exit(1);
echo 'answer: ', pg_fetch_result($rows, 0, 0), "\\n";
@{encrypted}
""")
BY_SERVER = """\
$rows = pg_query($connection, '@{asked}') or exit(1);
$seen = pg_fetch_result($rows, 0, 0) === 't';
echo '@{witness}: ', $seen ? 'yes' : 'no', "\\n";
exit($seen || @{clear} ? 0 : 1);"""


def snippet(target: Target) -> Snippet:
    """Return the program."""
    pairs = _libpq.keywords(target) | {"connect_timeout": str(_driver.TIMEOUT_SECONDS)}
    text = PROGRAM.substitute(label=target.label, connect=_driver.singly(_libpq.conninfo(pairs)), encrypted=encrypted(target, BY_SERVER))
    notes = (*_libpq.notes(target), *named(target))
    return Snippet("php", say("PHP, pg_connect"), "php", text, f"{target.label}.php", ("php-pgsql",), notes)


def encrypted(target: Target, by_server: str) -> str:
    """Return the lines that say whether the connection is encrypted, or, through the pooler, keep their promise and ask what is behind."""
    witness = f"encrypted ({_driver.witness(target)})"
    promise = ""
    if target.pooled:
        said = "yes" if _driver.encrypts(target) else "no"
        promise = f"echo 'encrypted ({_driver.witness(target, promise=True)}): {said}', \"\\n\";\n"
        witness = _driver.BEHIND
    clear = "false" if _driver.encrypts(target) else "true"
    return promise + _driver.Program(by_server).substitute(asked=_driver.asked(target), witness=witness, clear=clear)
