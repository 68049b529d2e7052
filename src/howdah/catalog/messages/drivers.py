"""What the drivers say in their own words, before or after a server has spoken; what servers say, all of them pass on as it is.

What Npgsql (.NET) says in words of its own is not in here: Debian has no .NET SDK, and only what was heard stands here.
"""

from __future__ import annotations

from typing import Final

from howdah.catalog.messages.message import Message
from howdah.phrase import say

_AUTHORITY: Final = say("the client trusts other authorities than the one of this Howdah")
_GIVE_AUTHORITY: Final = say("give it the certificate that `howdah ca show` names (sslrootcert)")
_NAME: Final = say("the client reaches the instance by a name that its certificate does not bear")
_TELL_NAME: Final = say("tell Howdah the name: `howdah endpoints set NAME --hostname DNS`")
_NO_TLS: Final = say("the client demands TLS, and what answers at that port does not speak it: ssl=off, or it is another program's port")
_SWITCH_ON: Final = say("see `howdah endpoints list NAME` for ports and TLS; switch it on: `howdah params set NAME ssl=on`")
_REFUSED: Final = say("nothing listens at that address and port: the instance is stopped or down, or is reached elsewhere")
_LOOK: Final = say("see `howdah list` for its state and `howdah endpoints list NAME` for where it listens; then: howdah repair NAME")
_UNKNOWN_HOST: Final = say("no name server knows that host")
_SPELL: Final = say("see its spelling; `howdah endpoints list NAME` has addresses that need no name server")
_SILENCE: Final = say("nobody answered within the client's time limit: a firewall drops what is sent, or the machine is too busy")
_FIREWALL: Final = say("try it on the instance's own machine: `howdah psql NAME`; if that works, look for a firewall between")
_BROKEN: Final = say("the session broke off without a word: its process was killed, the pooler or the server went down, or the network did")
_AGAIN: Final = say("connect again and repeat the transaction; `howdah logs NAME` and `howdah operations NAME` tell why")
_STRANGER: Final = say("what answers at that port is no PostgreSQL: a web server, a proxy, another database")
_PORTS: Final = say("see `howdah endpoints list NAME` for host and port")
_NO_PASSWORD: Final = say("the server asks for a password, and the client has none")
_GIVE_PASSWORD: Final = say(
    "let it find the passfile that `howdah connect NAME` names, or set PGPASSWORD; drivers that are not libpq may read neither"
)
_NO_ROOT: Final = say("the authority's certificate is not where the client looks for it")
_COPY_ROOT: Final = say("copy the file that `howdah ca show` names to the client, and name its place there (sslrootcert)")
_BAD_ROOT: Final = say("what lies where the client looks for the authority's certificate is none, or is not readable by it")
_NO_TLS_OR_STRANGER: Final = say(
    "the client demands TLS, and what answers at that port does not speak it: ssl=off, another program's port, or no PostgreSQL at all"
)
_BROKEN_LOGIN: Final = say("what answered hung up without a word: the server or the pooler went down, or has no room, or is none")
_SPELL_URL: Final = say(
    "see its spelling; where it is a part of a password, the URL falls apart: percent-encode @, / and : in it, or leave it to the passfile"
)
_BAD_MODE: Final = say("this driver does not know that sslmode")
_GOOD_MODE: Final = say("take verify-full, or require; `howdah connect NAME --client CLIENT` writes what the driver means by them")
_POOL_EMPTY: Final = say(
    "all connections of the application's own pool are in use: some are not given back, or there are more threads than connections"
)
_POOL: Final = say(
    "give connections back at the end of each use; then make the pool larger, up to the instance's limits (`howdah show NAME`)"
)

DRIVERS: Final = (
    # --- libpq: psql, psycopg, PHP, Ruby, psqlODBC and many others
    Message("libpq-no-tls", "libpq", "server does not support SSL, but SSL was required", _NO_TLS, _SWITCH_ON),
    Message("libpq-refused", "libpq", "connection to server at … failed: Connection refused", _REFUSED, _LOOK),
    Message(
        "libpq-socket",
        "libpq",
        "connection to server on socket … failed: No such file or directory",
        say("the client was told no host, so it looks for a server of this machine's own where there is none"),
        say('name the host, or take all of it over at once: eval "$(howdah env NAME)"'),
    ),
    Message("libpq-no-host", "libpq", "could not translate host name … to address", _UNKNOWN_HOST, _SPELL),
    Message("libpq-silence", "libpq", "failed: timeout expired", _SILENCE, _FIREWALL),
    Message("libpq-broken", "libpq", "server closed the connection unexpectedly", _BROKEN, _AGAIN),
    Message("libpq-stranger", "libpq", "received invalid response to SSL negotiation", _STRANGER, _PORTS),
    Message("libpq-no-root", "libpq", "root certificate file … does not exist", _NO_ROOT, _COPY_ROOT),
    Message(
        "libpq-bad-root",
        "libpq",
        "could not read root certificate file …",
        _BAD_ROOT,
        _COPY_ROOT,
    ),
    Message("libpq-no-password", "libpq", "fe_sendauth: no password supplied", _NO_PASSWORD, _GIVE_PASSWORD),
    Message("libpq-mode", "libpq", "invalid sslmode value: …", _BAD_MODE, _GOOD_MODE),
    Message(
        "libpq-service",
        "libpq",
        "definition of service … not found",
        say("neither ~/.pg_service.conf nor the file of PGSERVICEFILE has a section of that name"),
        say("write it: `howdah connect NAME --write-service`"),
    ),
    Message(
        "libpq-option",
        "libpq",
        "invalid connection option …",
        say("a word of the connection string is misspelt, belongs to another driver, or is newer than this libpq"),
        say("use the string of `howdah connect NAME --client CLIENT`, which is right for each driver"),
    ),
    Message(
        "libpq-port",
        "libpq",
        "invalid integer value … for connection option …",
        say("the URL falls apart: a @, / or : in a password or a name must be percent-encoded, or the port is no number"),
        say("use the string of `howdah connect NAME --client uri`, and leave the password to the passfile"),
    ),
    Message(
        "libpq-passfile-open",
        "libpq",
        "password file … has group or world access; permissions should be u=rw (0600) or less",
        say("libpq ignores a passfile that others may read, and then has no password"),
        say("close it: chmod 600 ~/.pgpass"),
    ),
    # --- what stands on libpq, before it asks libpq
    Message(
        "odbc-dsn",
        "ODBC",
        "Data source name not found and no default driver specified",
        say("neither ~/.odbc.ini nor the file of ODBCINI has a section of that name, or the string names no driver"),
        say("take the section of odbc.ini, or the whole string, from `howdah connect NAME --client odbc`"),
    ),
    Message(
        "odbc-driver",
        "ODBC",
        "[unixODBC][Driver Manager]Can't open lib …",
        say("the driver of that name is not registered in odbcinst.ini: psqlODBC is not installed"),
        say("install it (Debian's odbc-postgresql); the string of `howdah connect NAME --client odbc` names it `PostgreSQL Unicode`"),
    ),
    Message(
        "php-driver",
        "PHP",
        "could not find driver",
        say("PHP's PDO has no driver for PostgreSQL: the extension pdo_pgsql is not installed, or not loaded by this php.ini"),
        say("install it (Debian's php-pgsql), and see it in the list of `php -m`"),
    ),
    # --- Python's own TLS: asyncpg, pg8000
    Message("python-name", "Python", "certificate verify failed: … mismatch, certificate is not valid for …", _NAME, _TELL_NAME),
    Message("python-authority", "Python", "certificate verify failed: unable to get local issuer certificate", _AUTHORITY, _GIVE_AUTHORITY),
    Message("asyncpg-no-tls", "asyncpg", "rejected SSL upgrade", _NO_TLS, _SWITCH_ON),
    Message("asyncpg-refused", "asyncpg", "Connect call failed …", _REFUSED, _LOOK),
    Message("asyncpg-broken", "asyncpg", "unexpected connection_lost() call", _BROKEN, _AGAIN),
    Message("sqlalchemy-pool", "SQLAlchemy", "QueuePool limit of size … overflow … reached, connection timed out", _POOL_EMPTY, _POOL),
    # --- Node.js: pg
    Message("node-authority", "Node.js", "unable to verify the first certificate", _AUTHORITY, _GIVE_AUTHORITY),
    Message("node-name", "Node.js", "Hostname/IP does not match certificate's altnames: …", _NAME, _TELL_NAME),
    Message("node-no-tls", "Node.js", "The server does not support SSL connections", _NO_TLS, _SWITCH_ON),
    Message("node-stranger", "Node.js", "There was an error establishing an SSL connection", _STRANGER, _PORTS),
    Message("node-no-password", "Node.js", "client password must be a string", _NO_PASSWORD, _GIVE_PASSWORD),
    Message("node-refused", "Node.js", "connect ECONNREFUSED …", _REFUSED, _LOOK),
    Message("node-no-host", "Node.js", "getaddrinfo ENOTFOUND …", _UNKNOWN_HOST, _SPELL),
    Message("node-no-root", "Node.js", "ENOENT: no such file or directory, open …", _NO_ROOT, _COPY_ROOT),
    Message("node-broken", "Node.js", "Connection terminated unexpectedly", _BROKEN, _AGAIN),
    Message("node-pool", "Node.js", "timeout exceeded when trying to connect", _POOL_EMPTY, _POOL),
    Message("node-silence", "Node.js", "Connection terminated due to connection timeout", _SILENCE, _FIREWALL),
    Message("prisma-refused", "Prisma", "Can't reach database server at …", _REFUSED, _LOOK),
    # --- Java: pgJDBC
    Message("jdbc-authority", "JDBC", "PKIX path building failed: …", _AUTHORITY, _GIVE_AUTHORITY),
    Message("jdbc-name", "JDBC", "The hostname … could not be verified by hostnameverifier …", _NAME, _TELL_NAME),
    Message("jdbc-no-tls", "JDBC", "The server does not support SSL.", _NO_TLS, _SWITCH_ON),
    Message("jdbc-stranger", "JDBC", "An error occurred while setting up the SSL connection.", _STRANGER, _PORTS),
    Message(
        "jdbc-no-password",
        "JDBC",
        "The server requested SCRAM-based authentication, but no password was provided.",
        _NO_PASSWORD,
        _GIVE_PASSWORD,
    ),
    Message("jdbc-refused", "JDBC", "Connection to … refused. Check that the hostname and port are correct", _REFUSED, _LOOK),
    Message("jdbc-no-host", "JDBC", "java.net.UnknownHostException: …", _UNKNOWN_HOST, _SPELL),
    Message("jdbc-silence", "JDBC", "java.net.SocketTimeoutException: …", _SILENCE, _FIREWALL),
    Message("jdbc-no-root", "JDBC", "Could not open SSL root certificate file …", _NO_ROOT, _COPY_ROOT),
    Message("hikari-pool", "HikariCP", "Connection is not available, request timed out after …", _POOL_EMPTY, _POOL),
    # --- Go: pgx, database/sql on it, crypto/x509
    Message("go-authority", "Go", "x509: certificate signed by unknown authority", _AUTHORITY, _GIVE_AUTHORITY),
    Message("go-name", "Go", "x509: certificate is valid for …, not …", _NAME, _TELL_NAME),
    Message("go-no-tls", "Go", "tls error: server refused TLS connection", _NO_TLS_OR_STRANGER, _SWITCH_ON),
    Message("go-refused", "Go", "dial tcp …: connect: connection refused", _REFUSED, _LOOK),
    Message("go-no-host", "Go", "hostname resolving error: lookup …", _UNKNOWN_HOST, _SPELL_URL),
    Message("go-silence", "Go", "timeout: context deadline exceeded", _SILENCE, _FIREWALL),
    Message("go-broken", "Go", "tls error: EOF", _BROKEN_LOGIN, _AGAIN),
    Message("go-no-root", "Go", "unable to read CA file: open …", _NO_ROOT, _COPY_ROOT),
    Message("go-bad-root", "Go", "unable to add CA to cert pool", _BAD_ROOT, _COPY_ROOT),
    Message("go-mode", "Go", "failed to configure TLS (sslmode is invalid)", _BAD_MODE, _GOOD_MODE),
    # --- Rust: tokio-postgres with native-tls
    Message("rust-authority", "Rust", "certificate verify failed:…(unable to get local issuer certificate)", _AUTHORITY, _GIVE_AUTHORITY),
    Message("rust-name", "Rust", "certificate verify failed:…mismatch)", _NAME, _TELL_NAME),
    Message("rust-no-tls", "Rust", "error performing TLS handshake: server does not support TLS", _NO_TLS_OR_STRANGER, _SWITCH_ON),
    Message("rust-refused", "Rust", "error connecting to server: Connection refused", _REFUSED, _LOOK),
    Message("rust-no-host", "Rust", "failed to lookup address information: …", _UNKNOWN_HOST, _SPELL),
    Message("rust-silence", "Rust", "deadline has elapsed", _SILENCE, _FIREWALL),
    Message("rust-broken", "Rust", "error communicating with the server: …", _BROKEN_LOGIN, _AGAIN),
    Message("rust-no-password", "Rust", "invalid configuration: password missing", _NO_PASSWORD, _GIVE_PASSWORD),
    Message("rust-bad-root", "Rust", "PEM routines…no start line…Expecting: CERTIFICATE", _BAD_ROOT, _COPY_ROOT),
    Message(
        "rust-mode",
        "Rust",
        "invalid connection string: invalid value for option `sslmode`",
        say("tokio-postgres knows disable, prefer and require alone; what is verified is its connector's matter"),
        say("take the program of `howdah connect NAME --client rust`: sslmode=require, and a connector that verifies by the CA's file"),
    ),
    Message(
        "rust-option",
        "Rust",
        "invalid connection string: unknown option …",
        say("a word of the connection string is misspelt, belongs to another driver, or is newer than this libpq"),
        say("use the string of `howdah connect NAME --client CLIENT`, which is right for each driver"),
    ),
    # --- Rust: sqlx with rustls
    Message("sqlx-authority", "sqlx", "invalid peer certificate: UnknownIssuer", _AUTHORITY, _GIVE_AUTHORITY),
    Message("sqlx-name", "sqlx", "invalid peer certificate: certificate not valid for name …", _NAME, _TELL_NAME),
    Message(
        "sqlx-no-tls",
        "sqlx",
        "error occurred while attempting to establish a TLS connection: server does not support TLS",
        _NO_TLS,
        _SWITCH_ON,
    ),
    Message("sqlx-stranger", "sqlx", "unexpected response from SSLRequest: …", _STRANGER, _PORTS),
    Message("sqlx-refused", "sqlx", "error communicating with database: Connection refused", _REFUSED, _LOOK),
    Message("sqlx-mode", "sqlx", "unknown value … for `ssl_mode`", _BAD_MODE, _GOOD_MODE),
    Message("sqlx-pool", "sqlx", "pool timed out while waiting for an open connection", _POOL_EMPTY, _POOL),
)
