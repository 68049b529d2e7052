"""Ruby with pg, which stands on libpq: sslmode, CA, SNI, channel binding, keepalive and passfile are libpq's own (_libpq.py).

exec_params sends parameters in one round trip without a name; prepare names a statement
(https://deveiate.org/code/pg/PG/Connection.html). A result is read whole, or row by row (set_single_row_mode), without a cursor. Active
Record prepares by name unless database.yml says `prepared_statements: false`, and locks a session for migrations unless it says
`advisory_locks: false` (https://guides.rubyonrails.org/configuring.html).
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.connect.node import named
from howdah.phrase import Phrase, say

PROGRAM = _driver.Program("""\
# Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
require 'pg'

CONNECT = {
@{connect}
}.freeze

begin
  connection = PG.connect(**CONNECT)
  answer = connection.exec_params('SELECT 6 * $1::int', [7]).getvalue(0, 0)
@{looking}
rescue PG::Error => error
  abort error.message
end
puts "answer: #{answer}", "encrypted (@{witness}): #{encrypted ? 'yes' : 'no'}"
@{ending}""")


def snippet(target: Target) -> Snippet:
    """Return the program."""
    pairs = _libpq.keywords(target) | {"connect_timeout": str(_driver.TIMEOUT_SECONDS)}
    text = PROGRAM.substitute(
        label=target.label,
        connect="\n".join(
            f"  {key}: {value if key in ('port', 'connect_timeout') else _driver.singly(value)}," for key, value in pairs.items()
        ),
        looking="\n".join(f"  {line}" for line in _looking(target)),
        witness=_driver.witness(target),
        ending=_ending(target),
    )
    notes = (*_libpq.notes(target), *named(target), *_rails(target))
    return Snippet("ruby", say("Ruby, pg"), "ruby", text, f"{target.label}.rb", ("pg",), notes)


def _looking(target: Target) -> list[str]:
    by_server = f"connection.exec('{_driver.asked(target)}').getvalue(0, 0) == 't'"
    return ["encrypted = connection.ssl_in_use?", f"behind = {by_server}"] if target.pooled else [f"encrypted = {by_server}"]


def _ending(target: Target) -> str:
    told = f"puts \"{_driver.BEHIND}: #{{behind ? 'yes' : 'no'}}\"\n" if target.pooled else ""
    if not _driver.encrypts(target):
        return told
    return f"{told}abort 'cannot go on: the connection is not encrypted' unless encrypted{' && behind' if target.pooled else ''}\n"


def _rails(target: Target) -> tuple[Phrase, ...]:
    if target.shares and not target.prepared:
        return (say("in Rails' database.yml set prepared_statements: false, and give migrations the direct endpoint"),)
    return (say("in Rails' database.yml give migrations the direct endpoint"),) if target.shares else ()
