"""Client sessions at PostgreSQL as they are, and one login tried as a client would."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from howdah import protocol, wire
from howdah.core.instance import CONTROL_ROLE, LOOKUP_ROLE
from howdah.errors import Refusal
from howdah.host import scram, sql
from howdah.host.postgres import Seat
from howdah.phrase import Phrase, say
from howdah.protocol import Stream
from howdah.secret import Secret

_END_PLAINTEXT: Final = """
SELECT count(pg_terminate_backend(a.pid, 5000)) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
WHERE a.backend_type = 'client backend' AND a.client_addr IS NOT NULL AND NOT s.ssl AND a.pid <> pg_backend_pid()
"""
_COUNT: Final = """
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
AND (client_addr IS NOT NULL OR ($2::bool AND usename <> ALL ($1::name[])))
"""


def end_plaintext(seat: Seat) -> int:
    """End every session that came over TCP without TLS, and return when they have ended: how many."""
    with sql.control(seat, say("end sessions in plaintext")) as session:
        waits = session.version >= 140000  # until then pg_terminate_backend only sends the signal
        [(ended,)] = session.execute(_END_PLAINTEXT if waits else _END_PLAINTEXT.replace(", 5000", ""))
    return int(ended)


def count(seat: Seat, *, pooled: bool = False) -> int:
    """Return how many client sessions there are on the TCP port, with `pooled` those of the pooler, too; 0 where nobody can be asked."""
    with contextlib.suppress(Refusal), sql.control(seat, say("count sessions")) as session:
        [(found,)] = session.execute(_COUNT, ["{" + ",".join((CONTROL_ROLE, LOOKUP_ROLE)) + "}", str(pooled)])
        return int(found)
    return 0


def try_login(address: str, port: int, role: str, password: Secret, *, tls: bool, seconds: float = wire.SECONDS) -> Phrase | None:
    """Log in at a port, as any client would, and ask for one row; return why that failed, or None."""
    deadline = time.monotonic() + seconds
    try:
        with wire.connected(address, port, tls=tls, seconds=seconds) as connection:
            stream = Stream(connection)
            stream.send(protocol.startup([("user", role), ("database", "postgres")]), deadline)
            scram.log_in(stream, password, deadline)
            return _one_row(stream, deadline)
    except (OSError, EOFError, scram.Failure) as error:
        return say("a login failed: {words}", words=error)


def _one_row(stream: Stream, deadline: float) -> Phrase | None:
    """Ask for a row when the server is ready; return why none came."""
    rows = 0
    asked = False
    while True:
        kind, body = stream.receive(deadline)
        if kind == b"E":
            return say("a login failed: {words}", words=protocol.complaint(body).get("M", ""))
        rows += kind == b"D"
        if kind == b"Z" and asked:
            return None if rows == 1 else say("a login failed: {words}", words="no row came")
        if kind == b"Z":
            stream.send(protocol.message(b"Q", protocol.text("SELECT 1")), deadline)
            asked = True
