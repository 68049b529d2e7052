"""Client sessions at PostgreSQL as they are, and one login tried as a client would."""

from __future__ import annotations

from typing import Final

from howdah.host import sql
from howdah.host.postgres import Seat
from howdah.phrase import Phrase, say
from howdah.secret import Secret

_END_PLAINTEXT: Final = """
SELECT count(pg_terminate_backend(a.pid, 5000)) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
WHERE a.backend_type = 'client backend' AND a.client_addr IS NOT NULL AND NOT s.ssl AND a.pid <> pg_backend_pid()
"""


def end_plaintext(seat: Seat) -> None:
    """End every session that came over TCP without TLS, and return when they have ended."""
    with sql.control(seat, say("end sessions in plaintext")) as session:
        waits = session.info.server_version >= 140000  # until then pg_terminate_backend only sends the signal
        session.execute((_END_PLAINTEXT if waits else _END_PLAINTEXT.replace(", 5000", "")).encode())


def try_login(address: str, port: int, role: str, password: Secret, *, tls: bool, seconds: int = 3) -> Phrase | None:
    """Log in at a port and ask for one row; return why that failed, or None."""
    import psycopg

    try:
        with psycopg.connect(
            host=address,
            port=port,
            user=role,
            password=password.reveal(),
            dbname="postgres",
            sslmode="require" if tls else "disable",
            gssencmode="disable",
            passfile="/nonexistent",
            sslrootcert="",
            connect_timeout=seconds,
            autocommit=True,
            prepare_threshold=None,
        ) as session:
            session.execute("SELECT 1")
    except psycopg.Error as error:
        return say("a login failed: {words}", words=str(error).strip().replace("\n", "; "))
    return None
