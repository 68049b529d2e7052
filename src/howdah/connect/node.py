"""Node.js with `pg` (node-postgres), which speaks the protocol itself.

By its own source (pg 8.23): `ssl: {ca}` verifies chain and host name, an address against the certificate's addresses from 8.17 on (before,
an address was checked as if it were `localhost`, so the snippet names `host` in `ssl`, too); `ssl: {rejectUnauthorized: false}`
encrypts and verifies nothing; a server without TLS is refused by both. In a URL, `sslmode=require` means verify-full to it
(pg-connection-string; https://github.com/brianc/node-postgres/issues/2375), so the snippet writes no URL. SNI is sent for names.
`enableChannelBinding` takes SCRAM-SHA-256-PLUS where it is offered, and cannot demand it. A query with values is prepared without a name
and run in one round trip; only `{name: …}` prepares by name. The passfile of PGPASSFILE or ~/.pgpass is read by the package
pgpass; that pg calls it unasked is deprecated and ends with pg 9. keepAlive is off by default. A result is read whole; a cursor, a portal
within a transaction, takes the package pg-cursor (https://node-postgres.com/apis/cursor).
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver
from howdah.phrase import Phrase, say

PROGRAM = _driver.Program("""\
// Connect to @{label}, run a query with a parameter, and say whether the connection is encrypted.
@{imports}import pg from "pg";
import pgpass from "pgpass";
@{passfile}
const place = {
@{place}
};
const client = new pg.Client({
  ...place,
  password: process.env.PGPASSWORD ?? (() => new Promise((found) => pgpass(place, found))),
@{settings}
});

try {
  await client.connect();
  const { rows } = await client.query("SELECT 6 * $1::int AS answer", [7]);
@{looking}
  console.log("answer:", rows[0].answer);
  console.log("encrypted (@{witness}):", encrypted ? "yes" : "no");
@{told}  if (!@{wanted} && client.ssl) throw new Error("cannot go on: the connection is not encrypted");
} catch (error) {
  console.error(`${error.code ?? "error"}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await client.end();
}
""")


def snippet(target: Target) -> Snippet:
    """Return the program."""
    passfile = f"\nprocess.env.PGPASSFILE = {_driver.doubly(str(target.passfile))};\n" if target.passfile is not None else ""
    text = PROGRAM.substitute(
        label=target.label,
        imports='import { readFileSync } from "node:fs";\n' if target.sslmode == "verify-full" else "",
        passfile=passfile,
        place="\n".join(f"  {line}" for line in _place(target)),
        settings="\n".join(f"  {line}" for line in _settings(target)),
        looking="\n".join(f"  {line}" for line in _looking(target)),
        witness=_driver.witness(target),
        told=f'  console.log("{_driver.BEHIND}:", behind ? "yes" : "no");\n' if target.pooled else "",
        wanted="(encrypted && behind)" if target.pooled else "encrypted",
    )
    notes = (*_driver.notes(target, binds=True), *named(target))
    return Snippet("node", say("Node.js, pg"), "javascript", text, f"{target.label}.mjs", ("pg", "pgpass"), notes)


def _looking(target: Target) -> list[str]:
    by_server = f'Object.values((await client.query("{_driver.asked(target)}")).rows[0])[0]'
    if not target.pooled:
        return [f"const encrypted = {by_server};"]
    return ["const encrypted = client.connection.stream.encrypted === true;", f"const behind = {by_server};"]


def _place(target: Target) -> list[str]:
    lines = [f"host: {_driver.doubly(target.endpoint.host)},", f"port: {target.endpoint.port},"]
    return [*lines, f"database: {_driver.doubly(target.database)},", f"user: {_driver.doubly(target.user)},"]


def _settings(target: Target) -> list[str]:
    lines = _tls(target, _driver.doubly(target.endpoint.host))
    if target.sslmode != "disable" and not target.pooled:
        lines.append("enableChannelBinding: true, // the server proves that it knows the password")
    return [*lines, f"connectionTimeoutMillis: {_driver.TIMEOUT_SECONDS * 1000},", "keepAlive: true,"]


def _tls(target: Target, host: str) -> list[str]:
    if target.sslmode == "verify-full":
        ca = _driver.doubly(str(target.ca_file))
        return [f'ssl: {{ ca: readFileSync({ca}, "utf8"), host: {host} }}, // verify-full: chain and host name']
    if target.sslmode == "require":
        return ["ssl: { rejectUnauthorized: false }, // require: encrypts and verifies nothing"]
    return ["ssl: false, // disable"]


def named(target: Target) -> tuple[Phrase, ...]:
    """Return what not to do where the pooler does not carry named statements."""
    if target.shares and not target.prepared:
        return (say("prepare no statement by name: this pooler does not carry them from one server connection to the next"),)
    return ()
