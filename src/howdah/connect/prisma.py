"""Prisma's two URLs: one for the application, one for migrations, and a program that uses the first.

From 7 on the application reaches PostgreSQL by an adapter on `pg` (https://www.prisma.io/docs/orm/overview/databases/postgresql), whose
URL means what node-postgres says: sslmode=verify-full with sslrootcert; `no-verify` encrypts and verifies nothing. `prisma migrate` is
another program (the schema engine), whose URL has words of its own: sslmode=require with sslaccept=strict and sslcert, the CA's file
(same page, "Arguments"); it locks a session, so it needs the direct endpoint
(https://www.prisma.io/docs/orm/prisma-client/setup-and-configuration/databases-connections/pgbouncer). Only the adapter reads a passfile.
By the adapter's own source (7.10): nothing is prepared by name unless `statementNameGenerator` says so; it opens no cursor on the server.
SNI, channel binding and keepalive are node-postgres's matter (node.py).
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _driver, _libpq
from howdah.connect.node import named
from howdah.phrase import say

PROGRAM = _driver.Program("""\
// Connect by Prisma, run a query with a parameter, and say whether the connection is encrypted.
// npx prisma generate && node --env-file=.env index.mjs
import { PrismaPg } from "@@prisma/adapter-pg";
import { PrismaClient } from "@@prisma/client";
@{pool}
try {
  const [{ answer }] = await prisma.$queryRaw`SELECT 6 * ${7}::int AS answer`;
@{encrypted}
  console.log("answer:", answer);
  console.log("encrypted (@{witness}):", encrypted ? "yes" : "no");
@{told}  if (!@{wanted} && !process.env.DATABASE_URL.includes("sslmode=disable")) throw new Error("the connection is not encrypted");
} catch (error) {
  console.error(error.message, error.meta?.driverAdapterError?.cause ?? "");
  process.exitCode = 1;
} finally {
  await prisma.$disconnect();
@{end}}
""")
OWN_POOL = """
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });"""
# Prisma says nothing of its connections, so that it is given a pool that does.
BY_CLIENT = """\
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
let encrypted;
pool.on("connect", (client) => { encrypted = client.connection.stream.encrypted === true && encrypted !== false; });
const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });"""
SCHEMA = """\
generator client {
  provider = "prisma-client-js"
}

datasource db {
  provider = "postgresql"
}
"""
CONFIG = """\
import { defineConfig } from "prisma/config";

export default defineConfig({ schema: "schema.prisma", datasource: { url: process.env.DIRECT_URL } });
"""


def snippet(target: Target) -> Snippet:
    """Return the environment with both URLs, and the files of a project beside it."""
    # pg-connection-string decodes a path by decodeURI, which leaves these as they are; a user's name it decodes whole.
    _driver.refuse_characters(target, ";/?:@&=+$,#", "Prisma DATABASE_URL", target.database)
    lines = {"DATABASE_URL": application(target), "DIRECT_URL": migrations(target.unpooled)}
    if target.passfile is not None:
        lines["PGPASSFILE"] = str(target.passfile)
    text = "".join(f"{key}={_value(value)}\n" for key, value in lines.items())
    looking = f"  const [{{ seen: {'behind' if target.pooled else 'encrypted'} }}] = await prisma.$queryRaw`{_asked(target)}`;"
    program = PROGRAM.substitute(
        pool=BY_CLIENT if target.pooled else OWN_POOL,
        encrypted=looking,
        witness=_driver.witness(target),
        told=f'  console.log("{_driver.BEHIND}:", behind ? "yes" : "no");\n' if target.pooled else "",
        wanted="(encrypted && behind)" if target.pooled else "encrypted",
        end="  await pool.end();\n" if target.pooled else "",
    )
    files = {".env": text, "schema.prisma": SCHEMA, "prisma.config.ts": CONFIG, "index.mjs": program}
    migrating = say("prisma migrate reads no passfile: put the password into DIRECT_URL, after the user and a colon, percent-encoded")
    notes = (*_driver.notes(target), *named(target), migrating)
    needs = ("prisma", "@prisma/client", "@prisma/adapter-pg", "pg")
    return Snippet("prisma", say("Prisma, with a URL for migrations"), "ini", text, ".env", needs, notes, files)


def application(target: Target) -> str:
    """Return the URL for the adapter: node-postgres's words."""
    mode = "no-verify" if target.sslmode == "require" else target.sslmode
    pairs = _place(target) | {"sslmode": mode}
    return _libpq.uri(pairs | ({"sslrootcert": str(target.ca_file)} if mode == "verify-full" else {}))


def migrations(target: Target) -> str:
    """Return the URL for the schema engine: Prisma's own words."""
    pairs = _place(target) | {"sslmode": "disable" if target.sslmode == "disable" else "require"}
    if target.sslmode == "verify-full":
        pairs |= {"sslaccept": "strict", "sslcert": str(target.ca_file)}
    return _libpq.uri(pairs)


def _asked(target: Target) -> str:
    return _driver.asked(target).replace(" FROM", " AS seen FROM", 1)


def _place(target: Target) -> dict[str, str]:
    return {key: value for key, value in _libpq.keywords(target).items() if key in ("host", "port", "dbname", "user")}


def _value(text: str) -> str:
    """Return a value as `node --env-file` and dotenv read it."""
    return f"'{text}'" if "'" not in text else f'"{text}"'
