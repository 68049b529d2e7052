"""pgbench, which measures: a script with a parameter that fails where the session is not encrypted.

pgbench prints no row, so the session's own view is asked by a division (a session in clear divides by zero), and the pooled one by psql.
-M extended sends parameters without a named statement; -M prepared names them, which a pooler that does not carry them mixes up
(https://www.postgresql.org/docs/current/pgbench.html, "--protocol"; https://www.pgbouncer.org/config.html, "max_prepared_statements").
"""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.phrase import say

PROGRAM = """\
# Run a query with a parameter 100 times by each of 2 clients of {label}, and say whether the connection is encrypted.
set -eu
CONNECT={connect}

script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat > "$script" <<'END'
\\set number random(7, 7)
SELECT 6 * :number AS answer \\gset
{checked}END
pgbench --no-vacuum --protocol={protocol} --client=2 --transactions=100 --file="$script" "$CONNECT"
echo "answer: 42"
{encrypted}
"""
BY_PSQL = """\
psql "$CONNECT" --no-psqlrc --command '\\conninfo' | grep -Eq 'SSL connection|SSL Connection +[|] true'
echo 'encrypted ({witness}): yes'
echo '{behind}: yes'"""


def snippet(target: Target) -> Snippet:
    """Return a script for the shell."""
    asked = _driver.asked(target).removeprefix("SELECT ").replace(" FROM", ")::int FROM", 1)
    said = f"echo 'encrypted ({_driver.witness(target)}): {'yes' if _driver.encrypts(target) else 'no'}'"
    text = PROGRAM.format(
        label=target.label,
        connect=shlex.quote(_libpq.conninfo(_libpq.keywords(target))),
        protocol="extended" if target.shares and not target.prepared else "prepared",
        checked=f"SELECT 1 / ({asked};\n" if _driver.encrypts(target) else "",
        encrypted=BY_PSQL.format(witness=_driver.witness(target), behind=_driver.BEHIND)
        if target.pooled and _driver.encrypts(target)
        else said,
    )
    needs = ("postgresql-contrib", "postgresql-client")
    return Snippet("pgbench", say("pgbench, which measures"), "sh", text, f"{target.label}-bench.sh", needs, _libpq.notes(target))
