"""The page of clients: what each needs, and what the tests measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pages.markdown import code, page, table

if TYPE_CHECKING:
    from howdah.connect import Snippet

ROOT = Path(__file__).resolve().parent.parent.parent

_CLIENTS = """What `howdah connect NAME --client CLIENT` writes, for either hop and each pool mode. Each is executed, as printed, by
the tests, with its own driver against real servers; these are the results, with the versions that gave them. Run
`./test --all` for all of them; `python tools/drivers.py` says which drivers are here. How to use one: [Connect an
application](../how-to/connect-an-application.md). .NET's program is written by Npgsql's own documents and was never run: Debian has no .NET
SDK, so that the tests skip it and say so, and `howdah explain` knows none of Npgsql's own words."""
_MATRIX = """With `--sslmode verify-full`, on each of three hops: direct, and through the pooler in session and in transaction mode.
*Good CA*: the server is the one that the CA certified. *Foreign CA*: another authority certified it. *Wrong host name*:
its certificate is for another name. *Server in clear*: it speaks no TLS, and would serve whoever asks without. A word
alone holds on all three hops. *Encrypted*: the program said so, PostgreSQL saw it so, and the pooler logged it so; where a
server in clear is *refused*, no login reached it. The last column is who says it in the program on the pooled hop: *the
driver* of its own socket, or *a promise* where the driver cannot be asked and refuses to go on otherwise
([why](../adr/0020-who-says-that-it-is-encrypted.md))."""
_REQUIRE = """With `--sslmode require`, on the same three hops: who answers is not verified, and a server in clear is refused."""
_TRANSACTION = """In transaction mode a server connection is a client's until its transaction ends. Two clients take turns, with the
settings of their snippets. *Works*; *breaks*: an error; *left to others*: what one client did is there for the next,
and may be gone for itself; *deaf*: no notification comes; *not exclusive*: both get the lock; *none*: the driver,
without more packages, has no such thing. What stands after a semicolon, in italics, holds where PgBouncer carries
named statements (1.22 or newer, with `max_prepared_statements` above 0)."""
_ADVICE = """So migrations, `LISTEN`, `SET` outside a transaction, advisory locks of a session, temporary tables that outlive a
transaction, and cursors `WITH HOLD` are for the direct endpoint: `howdah connect NAME --client CLIENT --via direct`.
Within one transaction all of them hold (`SET LOCAL`, `pg_advisory_xact_lock`, `ON COMMIT DROP`). A cancellation by
TLS can make PgBouncer crash from 1.18 on, until 1.19.1 ([#846](https://github.com/pgbouncer/pgbouncer/pull/846)) and
1.21 ([#928](https://github.com/pgbouncer/pgbouncer/pull/928)): the keeper starts it again, and its clients reconnect.
psqlODBC 13 breaks where the pooler carries named statements, for it prepares a name that it has used before
(*prepared statement name is already in use*, 1.24 and 1.26 alike), so its snippet says `UseServerSidePrepare=0`, and
the parameters go into the statement. PDO ends its named statements by `DEALLOCATE`, which no pooler carries either;
its snippet disables them. asyncpg prepares and runs in two round trips: without carried statements every query has to
be within a transaction, as in its snippet."""
SITUATIONS = ("good CA", "foreign CA", "wrong host name", "server in clear")


def clients() -> str:
    """Every client, what it needs, and what was measured of it."""
    everything = measured()
    return page(
        "Clients",
        _CLIENTS.replace("\n", " "),
        table(("client", "is for", "needs", "measured with"), [_client(name, found) for name, found in everything.items()]),
        "## Connections",
        _MATRIX.replace("\n", " "),
        table(
            ("client", *SITUATIONS, "who says so"),
            [(code(name), *_outcomes(found, "verify-full"), _witness(name)) for name, found in everything.items()],
        ),
        _REQUIRE.replace("\n", " "),
        table(
            ("client", "good CA", "wrong host name", "server in clear"),
            [(code(name), *(each for each in _outcomes(found, "require") if each != "")) for name, found in everything.items()],
        ),
        *_in_transaction_mode(everything),
    )


def measured() -> dict[str, Any]:
    """Return what the tests measured, by client; a client that was not says why."""
    found: dict[str, Any] = json.loads((ROOT / "tests" / "real" / "clients.json").read_text())
    return found


def _client(name: str, found: Any) -> tuple[str, ...]:
    made = _made(name, "direct")
    return code(name), str(made.title), ", ".join(map(code, made.needs)), found.get("by", f"not measured: {found.get('not', '')}")


def _made(name: str, kind: Literal["direct", "pooled"]) -> Snippet:
    from howdah.connect import Target, snippet
    from howdah.core.endpoint import Endpoint

    mode = "session" if kind == "pooled" else None
    endpoint = Endpoint(kind, "localhost", 5432, True, ())
    return snippet(name, Target(endpoint, "shop", "app", "verify-full", Path("/ca.crt"), None, mode, "shop", False))


def _witness(name: str) -> str:
    """Return who says in a pooled program that its connection is encrypted; a text that is no program says nothing."""
    made = _made(name, "pooled")
    text = "".join((made.text, *made.files.values()))
    return "a promise" if "refuses to go on otherwise" in text else "the driver" if "as this client sees it" in text else "–"


def _outcomes(found: Any, sslmode: str) -> Iterator[str]:
    """Return what came of each situation: one word where all hops agree."""
    for situation in SITUATIONS:
        said = {
            key.split(", ")[0]: outcome
            for key, outcome in found.get("connections", {}).items()
            if key.endswith(f", {sslmode}, {situation}")
        }
        if len(set(said.values())) > 1:
            yield ", ".join(f"{hop}: {outcome}" for hop, outcome in said.items())
        elif said or sslmode == "verify-full" or situation != "foreign CA":
            yield next(iter(said.values()), "not measured")


def _in_transaction_mode(everything: Mapping[str, Any]) -> Iterator[Iterable[str] | str]:
    """Return what was measured of each feature in transaction mode, on a pooler that carries named statements and on one that does not."""
    rows = {name: (found["transaction"], found["transaction, carried"]) for name, found in everything.items() if "transaction" in found}
    features = list(next(iter(rows.values()))[0])
    yield "## Transaction mode"
    yield " ".join(_TRANSACTION.split())
    yield table(("", *map(code, rows)), [(each, *(_both(*(kind[each] for kind in kinds)) for kinds in rows.values())) for each in features])
    yield " ".join(_ADVICE.split())


def _both(plain: str, carried: str) -> str:
    return plain if plain == carried else f"{plain}; *{carried}*"
