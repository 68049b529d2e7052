"""What both Go clients share: pgx's URL.

By pgx's own source (pgconn/config.go, 5.12): the parameters are libpq's. `sslmode=require` verifies nothing, unless sslrootcert is given
(then the chain); verify-full checks chain and host name, an address, too; a server without TLS is refused by both. SNI is sent for names.
`channel_binding` is known from 5.9 on; before, it went to the server as a parameter. `passfile` and PGPASSFILE are read. Every query is
prepared by name and kept (`default_query_exec_mode=cache_statement`); `exec` sends it without a name in one round trip
(https://pkg.go.dev/github.com/jackc/pgx/v5#QueryExecMode). Rows are read as they come, without a cursor; one is a matter of SQL. TCP
keepalive is Go's own, on by default.
"""

from __future__ import annotations

from howdah.connect import Target, _driver, _libpq

MODULE = "github.com/jackc/pgx/v5"
SINCE = "v5.12.0"


def url(target: Target) -> str:
    """Return the URL."""
    pairs = _libpq.keywords(target) | {"connect_timeout": str(_driver.TIMEOUT_SECONDS)}
    if target.shares and not target.prepared:
        # The pooler gives each transaction any server connection: a statement prepared on one is missing on the next.
        pairs["default_query_exec_mode"] = "exec"
    return _libpq.uri(pairs)


def told(target: Target) -> str:
    """Return the line that says what PostgreSQL sees of the pooler."""
    return f'	fmt.Println("{_driver.BEHIND}:", map[bool]string{{true: "yes", false: "no"}}[behind])\n' if target.pooled else ""


def wanted(target: Target) -> str:
    """Return what must hold of a connection that was to be encrypted."""
    return "(encrypted && behind)" if target.pooled else "encrypted"


def manifest() -> str:
    """Return go.mod; `go mod tidy` puts in what it needs."""
    return f"module example\n\ngo 1.25.0\n\nrequire {MODULE} {SINCE}\n"
