"""What every client that stands on libpq shares: the keywords of a target, the quoting of libpq's own formats, and what must be said.

Each format has one function that quotes; nobody else writes it. libpq's documents: https://www.postgresql.org/docs/current/libpq.html

What libpq does (https://www.postgresql.org/docs/current/libpq-connect.html, -ssl.html): `require` encrypts and verifies nothing, unless
there is a root certificate; `verify-full` takes the CA from sslrootcert or ~/.postgresql/root.crt, and checks the name. A server without
TLS is refused by both. SNI is sent for names (`sslsni`, 14 and newer). `channel_binding` is prefer by default. TCP keepalive is on
(`keepalives`). libpq itself prepares nothing, caches no statement and opens no cursor: what stands on it does, or hands SQL on (DECLARE
lasts for a transaction).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote

from howdah.connect import Target
from howdah.phrase import Phrase, say
from howdah.secret import Secret

# The PG* variable of each keyword (libpq-envars).
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "channel_binding": "PGCHANNELBINDING",
    "passfile": "PGPASSFILE",
}


def keywords(target: Target) -> dict[str, str]:
    """Return libpq's keywords for a target, unquoted, in the order in which people read them."""
    where = {"host": target.endpoint.host, "port": str(target.endpoint.port), "dbname": target.database, "user": target.user}
    return where | security(target)


def security(target: Target) -> dict[str, str]:
    """Return the keywords that say how a connection is protected and where its password lies."""
    found: dict[str, str] = {"sslmode": target.sslmode}
    # require must not get a sslrootcert: with one, libpq treats it as verify-ca (libpq-ssl, "Client Verification of Server Certificates").
    if target.sslmode == "verify-full":
        found["sslrootcert"] = str(target.ca_file)
    # Binding SCRAM to the TLS channel shows a man in the middle even under require. PgBouncer does not offer it (1.18 to 1.26: libpq then
    # says "channel binding required but not supported"), so that a pooled string must not ask for it.
    if target.sslmode != "disable" and not target.pooled:
        found["channel_binding"] = "require"
    if target.passfile is not None:
        found["passfile"] = str(target.passfile)
    return found


def conninfo(pairs: dict[str, str]) -> str:
    r"""Return a keyword/value string (libpq-connect, "Keyword/Value Connection Strings").

    >>> print(conninfo({"host": "::1", "dbname": "it's a \\"}))
    host=::1 dbname='it\'s a \\'
    """
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


def _quoted(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:+@%-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def uri(pairs: dict[str, str]) -> str:
    """Return a connection URI (RFC 3986); everything but unreserved characters is percent-encoded, a slash in a value's path stays.

    >>> uri({"host": "::1", "port": "5432", "dbname": "a/b?", "user": "o@x", "sslmode": "verify-full", "sslrootcert": "/c a.crt"})
    'postgresql://o%40x@[::1]:5432/a%2Fb%3F?sslmode=verify-full&sslrootcert=/c%20a.crt'
    """
    rest = dict(pairs)
    host, port, database, user = (rest.pop(key) for key in ("host", "port", "dbname", "user"))
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    query = "&".join(f"{key}={quote(value, safe='/')}" for key, value in rest.items())
    return f"postgresql://{quote(user, safe='')}@{place}:{port}/{quote(database, safe='')}?{query}"


def passfile_line(target: Target, password: Secret) -> Secret:
    r"""Return the line of a passfile (mode 0600, or libpq ignores it) for exactly this target.

    A colon and a backslash are escaped by a backslash (libpq-pgpass). A field that is a star alone would match anything
    (pwdfMatchesString in fe-connect.c); a backslash makes it literal, as it does any character. Within a field a star is itself, and stays
    as it is: not every driver's own reader takes a backslash before anything but those two (node's pgpass, pgx's pgpassfile).
    """
    fields = (target.endpoint.host, str(target.endpoint.port), target.database, target.user, password.reveal())
    return Secret(":".join(map(escaped, fields)))


def escaped(field: str) -> str:
    """Return a field of a passfile as it stands there."""
    return r"\*" if field == "*" else re.sub(r"[:\\]", r"\\\g<0>", field)


def notes(target: Target, asks: bool = False, binds: bool = True) -> tuple[Phrase, ...]:
    """Return what a person must know of this target: encryption, password (`asks`: the client asks for it), and pool mode.

    `binds`: the snippet carries channel_binding where the hop has it.
    """
    return (*_encryption(target, binds), password(target, asks), *pooling(target))


def _encryption(target: Target, binds: bool) -> list[Phrase]:
    if target.sslmode == "disable":
        return unencrypted(target)
    if target.sslmode == "require":
        return _require(target, binds)
    return _verify_full(target)


def unencrypted(target: Target) -> list[Phrase]:
    """Return what must be said where nothing is encrypted."""
    if not target.endpoint.tls:
        return [say("this connection is not encrypted: ssl is off; `howdah params set {name} ssl=on` turns it on", name=target.instance)]
    return [say("sslmode=disable sends everything in clear, and this endpoint refuses it")]


def bound() -> Phrase:
    """Return what channel binding is for."""
    return say("channel_binding=require makes the server prove that it knows the password, so that nobody in the middle can pass for it")


def _require(target: Target, binds: bool) -> list[Phrase]:
    # initialize_SSL() in fe-secure-openssl.c looks for ~/.postgresql/root.crt whenever sslrootcert is not given.
    words = say(
        "require encrypts and does not verify who answers; verify-full does. Only if ~/.postgresql/root.crt exists, libpq verifies by that "
        "file (as verify-ca) and refuses this server unless {ca_file} is in it",
        ca_file=target.ca_file,
    )
    return [words, bound()] if binds and not target.pooled else [words]


def needs_ca(target: Target) -> Phrase:
    """Return what verify-full needs of a client."""
    return say("verify-full needs the CA's certificate on the client: copy {ca_file} there and name its place", ca_file=target.ca_file)


def _verify_full(target: Target) -> list[Phrase]:
    words = needs_ca(target)
    try:
        ipaddress.ip_address(target.endpoint.host)
    except ValueError:
        return [words]
    # Release notes of PostgreSQL 15, "Client": "Allow IP address matching against a server certificate's Subject Alternative Name".
    return [words, say("an address as host is verified by libpq 15 and newer; give older ones a host name of the certificate")]


def password(target: Target, asks: bool = False) -> Phrase:
    """Return where the password comes from; `asks`: the client asks for it."""
    if target.passfile is not None:
        return say("the password is read from {passfile}, which must be readable by its owner alone", passfile=target.passfile)
    if asks:
        return say("psql asks for the password, unless PGPASSWORD or ~/.pgpass has it")
    line = passfile_line(target, Secret("PASSWORD")).reveal()
    return say("the password is read from PGPASSWORD, or from ~/.pgpass (mode 0600), whose line is {line}", line=line)


def pooling(target: Target) -> list[Phrase]:
    """Return what the pool mode takes away."""
    # https://www.pgbouncer.org/features.html, "SQL feature map for pooling modes"
    if target.pool_mode == "transaction":
        words = say(
            "in transaction mode a server connection is yours until the transaction ends: use the direct endpoint for migrations, LISTEN, "
            "SET outside a transaction, advisory locks held longer than a transaction, temporary tables and cursors WITH HOLD"
        )
        return [words]
    if target.pool_mode == "statement":
        return [say("in statement mode every statement commits by itself and BEGIN is refused: use the direct endpoint for transactions")]
    return []
