"""PHP with PDO, which hands its DSN to libpq with blanks for semicolons (ext/pdo_pgsql/pgsql_driver.c), so that no value may have one.

A prepared statement is the server's own and named, by default; ATTR_DISABLE_PREPARES sends query and parameters in one round trip without
a name, and PDO ends a named one by DEALLOCATE, which no pooler carries (https://www.php.net/manual/en/ref.pdo-pgsql.php;
pgsql_statement.c). A result is read whole; CURSOR_SCROLL DECLAREs a cursor WITH HOLD, which a shared server connection keeps (same file).
TLS, SNI, channel binding and keepalive are libpq's (_libpq.py); PDO cannot be asked about TLS.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.connect.php import encrypted
from howdah.phrase import say

PROGRAM = _driver.Program("""\
<?php
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
try {
    $connection = new PDO(@{dsn}, @{user}, getenv('PGPASSWORD') ?: null, [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
@{settings}    ]);
    $query = $connection->prepare('SELECT 6 * ?::int');
    $query->execute([7]);
    echo 'answer: ', $query->fetchColumn(), "\\n";
@{encrypted}
} catch (PDOException $error) {
    fwrite(STDERR, $error->getMessage() . "\\n");
    exit(1);
}
""")
BY_SERVER = """\
$seen = $connection->query('@{asked}')->fetchColumn();
echo '@{witness}: ', $seen ? 'yes' : 'no', "\\n";
exit($seen || @{clear} ? 0 : 1);"""
UNNAMED = """\
        // The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.
        PDO::PGSQL_ATTR_DISABLE_PREPARES => true,
"""


def snippet(target: Target) -> Snippet:
    """Return the program."""
    _driver.refuse_characters(target, ";", "PDO DSN")
    pairs = {key: value for key, value in _libpq.keywords(target).items() if key != "user"}
    lines = encrypted(target, BY_SERVER).splitlines()
    text = PROGRAM.substitute(
        label=target.label,
        dsn=_driver.singly("pgsql:" + _libpq.conninfo(pairs)),
        user=_driver.singly(target.user),
        settings=UNNAMED if target.shares else "",
        encrypted="\n".join(f"    {line}" for line in lines),
    )
    return Snippet("pdo", say("PHP, PDO"), "php", text, f"{target.label}.php", ("php-pgsql",), _libpq.notes(target))
