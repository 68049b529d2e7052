"""What PostgreSQL, PgBouncer and libpq say to clients of an instance: the words, what they mean here, and what to do. Data for people.

Every entry is produced on real servers by the tests. `…` stands for what changes; `versions` are those of its program in which exactly
these words were seen, where others say it otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from howdah.phrase import Phrase, say

Origin = Literal["PostgreSQL", "PgBouncer", "libpq"]
_OLD, _NEW = ("1.18",), ("1.24", "1.26")


@dataclass(frozen=True)
class Message:
    """One message: who says it, in which words, why, and what to do about it."""

    id: str
    origin: Origin
    words: str
    cause: Phrase
    cure: Phrase
    versions: tuple[str, ...] = ()

    def is_in(self, text: str) -> bool:
        """Tell whether these words were said.

        >>> MESSAGES[0].is_in('FATAL:  pg_hba.conf rejects connection for host "::1", user "app", database "x", no encryption')
        True
        """
        return re.search(".*".join(map(re.escape, self.words.split("…"))), text, re.DOTALL) is not None


MESSAGES: Final = (
    Message(
        "plaintext",
        "PostgreSQL",
        "pg_hba.conf rejects connection for host …, no encryption",
        say("the client did not ask for TLS, and the instance has ssl=on"),
        say("use the string of `howdah connect`: sslmode=verify-full with the authority's certificate, or at least sslmode=require"),
    ),
    Message(
        "closed-to-the-network",
        "PostgreSQL",
        "pg_hba.conf rejects connection for host …, SSL encryption",
        say("the control role, the lookup role and template1 are closed to the network"),
        say("connect as a user of the instance, to one of its databases: `howdah users list NAME`"),
    ),
    Message(
        "network",
        "PostgreSQL",
        "no pg_hba.conf entry for host …",
        say("the client's address lies in no network that was allowed"),
        say("allow its network: `howdah endpoints set NAME --allow CIDR`"),
    ),
    Message(
        "wrong-password",
        "PostgreSQL",
        "password authentication failed for user …",
        say("the password is wrong or has expired (VALID UNTIL), or there is no such role: the words are the same for all of them"),
        say("give the user a new password: `howdah users password NAME USER`"),
    ),
    Message(
        "no-login",
        "PostgreSQL",
        "role … is not permitted to log in",
        say("the password is right, but the role was locked (NOLOGIN)"),
        say("let a superuser give it back: ALTER ROLE … LOGIN"),
    ),
    Message(
        "no-database",
        "PostgreSQL",
        "database … does not exist",
        say("there is no database of that name; a client that names none asks for one named like its user"),
        say("see `howdah databases list NAME`, or add it: `howdah databases add NAME DATABASE`"),
    ),
    Message(
        "may-not-connect",
        "PostgreSQL",
        "permission denied for database …",
        say("the user has no right to that database: in those that Howdah makes PUBLIC may not connect"),
        say("grant it: `howdah users grant NAME USER --database DATABASE`"),
    ),
    Message(
        "schema-public",
        "PostgreSQL",
        "permission denied for schema public",
        say("since PostgreSQL 15 only a database's owner may create in its schema public"),
        say("let the database's owner say there: GRANT CREATE ON SCHEMA public TO …, or give the application a schema of its own"),
        ("15", "16", "17", "18"),
    ),
    Message(
        "too-many",
        "PostgreSQL",
        "remaining connection slots are reserved for …",
        say("all of max_connections are taken"),
        say("connect through the pooler, close what is not used, or raise it: `howdah params set NAME max_connections=N` (a restart)"),
    ),
    Message(
        "ended",
        "PostgreSQL",
        "terminating connection due to administrator command",
        say("the session was ended: by a restart, by pg_terminate_backend(), or because its user was deleted"),
        say("connect again; an application should do so by itself. `howdah operations NAME` tells what was done"),
    ),
    Message(
        "cancelled",
        "PostgreSQL",
        "canceling statement due to user request",
        say("a client cancelled its own statement, often by a time limit of its driver or of the application"),
        say("see the driver's time limits; to the server nothing is wrong"),
    ),
    Message(
        "statement-timeout",
        "PostgreSQL",
        "canceling statement due to statement timeout",
        say("the statement took longer than statement_timeout"),
        say("make the statement faster, or raise the limit where it was set: `howdah params list NAME`"),
    ),
    Message(
        "invalid-value",
        "PostgreSQL",
        "invalid value for parameter …",
        say("a parameter cannot have that value; through `howdah params set` this is found before anything is changed"),
        say("see what it may be: `howdah params catalog --search WORD`"),
    ),
    Message(
        "needs-restart",
        "PostgreSQL",
        "parameter … cannot be changed without restarting the server",
        say("the parameter counts from the server's start on, and no session can set it"),
        say("run `howdah params set NAME K=V`, which restarts in an orderly way"),
    ),
    Message(
        "plaintext-pooled",
        "PgBouncer",
        "SSL required",
        say("the client did not ask for TLS, and the instance has ssl=on"),
        say("use the string of `howdah connect`: sslmode=verify-full with the authority's certificate, or at least sslmode=require"),
    ),
    Message(
        "wrong-password-pooled",
        "PgBouncer",
        "SASL authentication failed",
        say("the password is wrong or has expired (VALID UNTIL)"),
        say("give the user a new password: `howdah users password NAME USER`"),
    ),
    Message(
        "unknown-role-pooled",
        "PgBouncer",
        "no such user",
        say("there is no such role, or it is hidden from the pooler: superusers, replication and service roles"),
        say("connect as a user of the instance: `howdah users list NAME`; as a superuser past the pooler, over the socket"),
    ),
    Message(
        "no-login-pooled-old",
        "PgBouncer",
        "no such user",
        say("the role was locked (NOLOGIN)"),
        say("let a superuser give it back: ALTER ROLE … LOGIN"),
        _OLD,
    ),
    Message(
        "no-login-pooled",
        "PgBouncer",
        "SASL authentication failed",
        say("the role was locked (NOLOGIN)"),
        say("let a superuser give it back: ALTER ROLE … LOGIN"),
        _NEW,
    ),
    Message(
        "network-pooled-old",
        "PgBouncer",
        "login rejected",
        say("the client's address lies in no network that was allowed"),
        say("allow its network: `howdah endpoints set NAME --allow CIDR`"),
        _OLD,
    ),
    Message(
        "network-pooled",
        "PgBouncer",
        "no authentication method is found",
        say("the client's address lies in no network that was allowed"),
        say("allow its network: `howdah endpoints set NAME --allow CIDR`"),
        _NEW,
    ),
    Message(
        "closed-pooled",
        "PgBouncer",
        "login rejected",
        say("the pooler's console and template1 are closed to the network"),
        say("connect to a database of the instance: `howdah databases list NAME`"),
    ),
    Message(
        "no-database-pooled-old",
        "PgBouncer",
        "query_wait_timeout",
        say("there is no database of that name, and this PgBouncer looks users up there"),
        say("see `howdah databases list NAME`, or add it: `howdah databases add NAME DATABASE`"),
        _OLD,
    ),
    Message(
        "too-many-pooled",
        "PgBouncer",
        "no more connections allowed (max_client_conn)",
        say("as many clients are connected as the pooler takes"),
        say("close what is not used, or raise it: `howdah extensions set NAME pooler max_client_conn=N`"),
    ),
    Message(
        "waited",
        "PgBouncer",
        "query_wait_timeout",
        say("no server connection was free for as long as a client may wait: long transactions, a pool too small, or PostgreSQL is down"),
        say("see `howdah show NAME`; end idle transactions, or raise the limit: `howdah extensions set NAME pooler default_pool_size=N`"),
    ),
    Message(
        "crashed",
        "PgBouncer",
        "server conn crashed?",
        say("the server connection broke in the middle of a transaction: a backend was killed, or PostgreSQL went down"),
        say("repeat the transaction; `howdah logs NAME --source postgres` tells why"),
    ),
    Message(
        "disabled",
        "PgBouncer",
        "database … is disabled",
        say("somebody wrote DISABLE at the pooler's console"),
        say("run `howdah repair NAME`"),
    ),
    Message(
        "startup-parameter",
        "PgBouncer",
        "unsupported startup parameter: …",
        say("the driver sends a setting with its login that the pooler cannot carry"),
        say("take it out of the connection string, and SET it in the session or by ALTER ROLE … SET"),
    ),
    Message(
        "prepared",
        "PgBouncer",
        "prepared statement … does not exist",
        say("this PgBouncer does not carry prepared statements in transaction mode"),
        say("use the string of `howdah connect`, which switches them off, or pool_mode=session, or PgBouncer 1.21"),
        _OLD,
    ),
    Message(
        "unknown-authority",
        "libpq",
        "certificate verify failed",
        say("the client trusts other authorities than the one of this Howdah"),
        say("give it the certificate that `howdah ca show` names (sslrootcert)"),
    ),
    Message(
        "wrong-name",
        "libpq",
        "server certificate for … does not match host name …",
        say("the client reaches the instance by a name that its certificate does not bear"),
        say("tell Howdah the name: `howdah endpoints set NAME --hostname DNS`"),
    ),
    Message(
        "channel-binding",
        "libpq",
        "channel binding is required, but server did not offer an authentication method that supports channel binding",
        say("PgBouncer knows no channel binding, and the client demands it"),
        say("take channel_binding=require out of the pooled string, or connect past the pooler"),
    ),
)
