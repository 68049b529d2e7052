"""Which endpoint, database, user and sslmode a client is given when not all was said."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.connect import SslMode, Target
from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.files import pooler_settings
from howdah.core.instance import Instance
from howdah.core.machine import Watch
from howdah.core.wishes import find_database, find_user
from howdah.errors import Conflict, Invalid, NotFound
from howdah.phrase import say

# psycopg sends DEALLOCATE ALL, which PgBouncer carries from 1.22 on
_CARRIES_DEALLOCATE = (1, 22)


@dataclass(frozen=True)
class Aim:
    """What was said; None is "not said"."""

    via: str | None
    database: str | None
    user: str | None
    sslmode: str | None


def aim(want: Instance, said: Aim, host: Watch) -> Target:
    """Return the target of a snippet, with everything that was not said chosen."""
    endpoint = _endpoint(want, said.via)
    user = _user(want, said.user)
    database = _database(want, said.database, user)
    pooled = endpoint.kind == "pooled"
    facts = host.facts()
    settings = pooler_settings(want, facts) if pooled else {}
    return Target(
        endpoint=endpoint,
        database=database,
        user=user,
        sslmode=_sslmode(want, said.sslmode),
        ca_file=host.layout(want.id).ca_file,
        passfile=host.passfile(want, user),
        pool_mode=settings.get("pool_mode"),
        instance=want.name,
        direct=next(each for each in endpoints(want) if each.kind == "direct") if pooled else None,
        prepared=facts.pooler_version >= _CARRIES_DEALLOCATE and settings.get("max_prepared_statements", "0") != "0",
    )


def _endpoint(want: Instance, via: str | None) -> Endpoint:
    there = {endpoint.kind: endpoint for endpoint in endpoints(want)}
    if via == "pooled" and "pooled" not in there:
        hint = say("howdah extensions add {name} pooler", name=want.name)
        raise NotFound("no_pooler", say("cannot connect through the pooler: {name} has none", name=want.name), hint)
    return there["direct"] if via == "direct" or "pooled" not in there else there["pooled"]


def _user(want: Instance, asked: str | None) -> str:
    if asked is not None:
        return find_user(want, asked).name
    if not want.users:
        hint = say("howdah users add {name} USER --database DATABASE", name=want.name)
        raise NotFound("no_user", say("cannot write a connection string: {name} has no user", name=want.name), hint)
    return want.users[0].name


def _database(want: Instance, asked: str | None, user: str) -> str:
    if asked is not None:
        return find_database(want, asked).name
    granted = find_user(want, user).databases or tuple(d.name for d in want.databases if d.owner == user)
    if not granted:
        hint = say("howdah users grant {name} {user} --database DATABASE", name=want.name, user=user)
        raise NotFound("no_database", say("cannot write a connection string: {user} has no database", user=user), hint)
    return granted[0]


def _sslmode(want: Instance, asked: str | None) -> SslMode:
    if asked not in (None, "disable", "require", "verify-full"):
        raise Invalid("invalid_value", say("cannot use sslmode {mode}: expected require or verify-full", mode=asked))
    if not want.tls:
        if asked in ("require", "verify-full"):
            hint = say("howdah params set {name} ssl=on", name=want.name)
            raise Conflict("ssl_off", say("cannot connect with sslmode {mode}: ssl is off", mode=asked), hint)
        return "disable"
    return "require" if asked == "require" else "verify-full"
