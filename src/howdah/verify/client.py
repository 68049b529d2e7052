"""Log in as any application does, with libpq, and tell how it went. No variable, passfile or service file of whoever runs us has a say."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howdah import wire
from howdah.core.endpoint import Endpoint
from howdah.secret import Secret

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

SECONDS = int(wire.SECONDS)
CANCEL_SECONDS = 10.0
CANCEL_AGAIN_SECONDS = 0.1
_SLEEP = f"SELECT pg_catalog.pg_sleep({CANCEL_SECONDS})"
_CANCELLED = "57014"
DATABASE = "postgres"
_NOWHERE = "/dev/null/nowhere"  # below what is no directory, so that nobody can put anything there (ENOTDIR, which libpq takes for absent)
# The server's words when it turns anybody away, whoever he is; they prove nothing about a password.
_BUSY = ("too many", "no more connections", "starting up", "shutting down", "connection slots", "login has been failing", "timeout")
_NO_PASSWORD = "no password supplied"


@dataclass(frozen=True)
class Login:
    """How a login went: `words` are the server's, on one line, when it did not succeed."""

    admitted: bool
    words: str = ""
    backend: int = 0
    milliseconds: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the server itself turned this one away, and not everybody; or asked for a password where there was none to give."""
        said = "FATAL" in self.words or "ERROR" in self.words
        return not self.admitted and (_NO_PASSWORD in self.words or (said and not any(word in self.words for word in _BUSY)))


@dataclass(frozen=True)
class Cancel:
    """How a running statement was cancelled: `words` are the server's, or why it was not."""

    worked: bool
    words: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Client:
    """How one hop is reached, as `howdah connect` tells people to: verify-full where TLS is wanted."""

    endpoint: Endpoint
    ca: Path

    def open(self, user: str, password: Secret | None) -> Connection:
        """Open a session in autocommit; it raises psycopg's own errors, within the time limit."""
        import psycopg

        forget_environment()
        return psycopg.connect(
            host=self.endpoint.host,
            port=self.endpoint.port,
            user=user,
            password=password.reveal() if password is not None else None,
            dbname=DATABASE,
            sslmode="verify-full" if self.endpoint.tls else "disable",
            sslrootcert=str(self.ca),
            sslcert=_NOWHERE,
            sslkey=_NOWHERE,
            sslcrl=_NOWHERE,
            passfile=_NOWHERE,
            gssencmode="disable",
            connect_timeout=SECONDS,
            application_name="howdah verify",
            autocommit=True,
            prepare_threshold=None,
        )

    def attempt(self, user: str, password: Secret | None) -> Login:
        """Log in, ask which backend answers, leave."""
        login, session = self.hold(user, password)
        if session is not None:
            session.close()
        return login

    def hold(self, user: str, password: Secret | None) -> tuple[Login, Connection | None]:
        """Log in and ask which backend answers; the session is left open for the caller to close, None when there is none."""
        import psycopg

        begun = time.monotonic()
        try:
            session = self.open(user, password)
        except psycopg.Error as error:
            return Login(False, words(error)), None
        try:
            return Login(True, "", backend(session), 1000 * (time.monotonic() - begun)), session
        except psycopg.Error as error:
            session.close()
            return Login(False, words(error)), None

    def cancel(self, user: str, password: Secret) -> Cancel:
        """Log in, begin a statement that takes long, and cancel it as a driver does: on a connection of its own."""
        import psycopg

        try:
            with self.open(user, password) as session, ThreadPoolExecutor(1) as other:
                begun = time.monotonic()
                running, trouble = other.submit(_fails_with, session, _SLEEP), ""
                while not running.done() and time.monotonic() < begun + CANCEL_SECONDS:
                    try:
                        session.cancel_safe(timeout=CANCEL_SECONDS)  # nothing happens where the statement has not begun yet
                    except psycopg.Error as error:
                        trouble = words(error)
                    wait([running], CANCEL_AGAIN_SECONDS)
                state, said = running.result()
                return Cancel(state == _CANCELLED, said or trouble or "it ran to its end", 1000 * (time.monotonic() - begun))
        except psycopg.Error as error:
            return Cancel(False, words(error))


def _fails_with(session: Connection, statement: str) -> tuple[str, str]:
    """Run a statement; return the SQLSTATE and the words with which it fails, or none."""
    import psycopg

    try:
        session.execute(statement.encode())
        return "", ""
    except psycopg.Error as error:
        return error.sqlstate or "", words(error)


def backend(session: Connection) -> int:
    """Return the pid of the PostgreSQL process that answers; through a pooler it is not the one that the login was told."""
    row = session.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def words(error: psycopg.Error) -> str:
    """Return an error's words on one line, without the address that everybody knows.

    >>> words(Exception('connection failed: connection to server at "127.0.0.1", port 1 failed: FATAL:  no'))  # type: ignore[arg-type]
    'FATAL:  no'
    """
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return re.sub(r'^connection failed: (connection to server at "[^"]*", port \d+ failed: )?', "", text)


def forget_environment() -> None:
    """Drop libpq's variables from our own environment: some, PGSERVICE for one, cannot be outvoted in the call."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        os.environ.pop(name, None)
