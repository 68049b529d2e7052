"""What the servers of the tests complained of in their logs, and what of it the table of messages does not know.

Every home is listened to before it is taken away. What is heard and not known fails the session: it wants an entry in
`howdah.catalog.messages`, or a reason here for which an operator cannot meet it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from howdah.catalog.messages import MESSAGES

UNKNOWN: set[str] = set()  # of this session

_POSTGRES = re.compile(r"^\d{4}-\d\d-\d\d [^\"']*?(?:FATAL|PANIC):  (.*)")
_PGBOUNCER = re.compile(r"^\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] (?:ERROR|FATAL|WARNING) (.*)")
# What no operator of an instance meets, and why
LEFT_OUT = {
    r"put_in_order: found existing elem": "PgBouncer 1.18 dies so of rules that tests of verify load, and Howdah never writes",
    r"failed to parse address|unsupported (?:parameters|method)|Ident map .* is not found": "the line before that of the rule's number",
    r"fill_defaults fail|event_del|cleanup_sockets": "a line beside the one that tells why",
    r"losing forced user not supported|dropping database '": "tests load lists of databases that Howdah does not write",
    r"failed to send welcome message|connection to client lost|tls_sbufio_(?:recv|send)": "the client had gone away; told beside it",
    r"unsupported startup parameter: ": "the parameter's value, beside the answer to the client",
    r"closing because: ": "not a complaint",
    r"UTC \[\d+\] LOG ": "a line that was cut in the middle, by a full disk or the end of its writer, with the next one in it",
    r"server connection closed": "a lost server, noticed by writing to it; by reading it is `server conn crashed?` (client.c)",
    r"role \".*\" does not exist$": "the user of an ended test asks once more over the socket",
}


def complaints(lines: Iterable[str]) -> Iterator[str]:
    """Return what an operator would take for an error: FATAL and above of PostgreSQL, WARNING and above of PgBouncer."""
    for line in lines:
        if found := _POSTGRES.match(line) or _PGBOUNCER.match(line):
            yield found[1]


def unknown(lines: Iterable[str]) -> set[str]:
    """Return the complaints without an entry, numbers and names taken out.

    >>> sorted(unknown(["2026-01-31 09:00:00.000 UTC [7] FATAL:  no such words", "2026-01-31 09:00:00.000 UTC [7] WARNING new 1"]))
    ['new N', 'no such words']
    """
    found = set()
    for text in complaints(lines):
        if not any(re.search(pattern, text) for pattern in LEFT_OUT) and not any(message.is_in(text) for message in MESSAGES):
            told = re.sub(r"^[CS]-0x\S+ \S+ (?:pooler error: )?", "", text)  # who, in PgBouncer's log
            found.add(re.sub(r"\d+", "N", re.sub(r'"[^"]*"', '"…"', told)))
    return found


def listen(home: Path) -> None:
    """Listen to all logs of a home's instances."""
    for pattern in ("instances/*/pg/log/*.log", "instances/*/pool/g*/log"):
        for path in home.glob(pattern):
            UNKNOWN.update(unknown(path.read_text(errors="replace").splitlines()))
