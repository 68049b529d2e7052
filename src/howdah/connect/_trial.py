"""The program beside a text that is none by itself: psql runs a query with a parameter by it, and says whether the connection is encrypted.

The words that open psql say how the text is used. What psql calls conninfo is libpq's view of its connection (exec_command_conninfo in
command.c; a table from 18 on); the question is put to PostgreSQL.
"""

from __future__ import annotations

from howdah.connect import Target, _driver
from howdah.phrase import Phrase, say

NEEDS = ("postgresql-client",)
PROGRAM = _driver.Program("""\
# Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
set -eu
cd "$(dirname "$0")"
said=$(@{psql} --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 --set=number=7 <<'END'
SELECT 'answer: ' || 6 * :'number'::int;
\\conninfo
SELECT '@{witness}: ' || CASE WHEN (@{asked}) THEN 'yes' ELSE 'no' END;
END
)
printf '%s\\n' "$said" | grep -E '^(answer|encrypted|protected)'
""")
BY_CLIENT = """\
if printf '%s\\n' "$said" | grep -Eq 'SSL connection|SSL Connection[|]true'; then encrypted=yes; else encrypted=no; fi
echo "encrypted ({witness}): $encrypted"
"""
ENDING = """\
case $said in *'{witness}: no'*) echo 'cannot go on: the connection is not encrypted' >&2; exit 1 ;; esac
"""
ENDING_POOLED = "[ $encrypted = yes ] || { echo 'cannot go on: the connection is not encrypted' >&2; exit 1; }\n"


def name(target: Target) -> str:
    """Return the name of its file."""
    return f"{target.label}-try.sh"


def program(target: Target, psql: str) -> str:
    """Return the program; `psql` is what opens psql by the text, as words of a shell."""
    witness = _driver.BEHIND if target.pooled else f"encrypted ({_driver.witness(target)})"
    text = PROGRAM.substitute(label=target.label, psql=psql, witness=witness, asked=_driver.asked(target))
    if target.pooled:
        text += BY_CLIENT.format(witness=_driver.witness(target))
    if _driver.encrypts(target):
        text += ENDING.format(witness=witness) + (ENDING_POOLED if target.pooled else "")
    return text


def note(target: Target) -> Phrase:
    """Say what it is for."""
    return say("{file}, which --into writes beside it, runs a query and says whether the connection is encrypted", file=name(target))
