"""How a request becomes a wish: each function checks what was asked and returns the next record.

Pure; a request that is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from howdah.catalog import parameters, sizes
from howdah.catalog.extensions import extension
from howdah.core import budget
from howdah.core.files import extra
from howdah.core.instance import (
    Database,
    Hop,
    Instance,
    Reach,
    User,
    check_address,
    check_database,
    check_hostname,
    check_name,
    check_network,
    check_port,
    check_role,
    shown,
)
from howdah.core.observed import Facts
from howdah.errors import Conflict, Invalid, NotFound, Unavailable
from howdah.phrase import Phrase, say
from howdah.secret import Secret

# the first PgBouncer that carries prepared statements through transaction mode
CARRIES_PREPARED = (1, 21)


@dataclass(frozen=True)
class Change:
    """One value before and after; `how` is how it comes into force."""

    name: str
    old: str | None
    new: str | None
    how: str = "reload"


@dataclass(frozen=True)
class Creation:
    """A request for a new instance, as given; None or empty is "not said"."""

    name: str
    version: int | None = None
    size: str | None = None
    port: int | None = None
    listen: tuple[str, ...] = ()
    hostnames: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    database: str | None = None
    user: str | None = None

    def checked(self) -> Creation:
        """Return the request with every part in its canonical form, or refuse it."""
        if self.user is not None and self.database is None:
            hint = say("give --database too, or add the user later: howdah users add {name} {user}", name=self.name, user=shown(self.user))
            raise Invalid("incomplete", say("cannot make user {user}: no database for it", user=shown(self.user)), hint)
        sizes.find(self.size or sizes.DEFAULT)
        return replace(
            self,
            name=check_name(self.name),
            port=None if self.port is None else check_port(self.port),
            listen=tuple(dict.fromkeys(map(check_address, self.listen))),
            hostnames=tuple(dict.fromkeys(map(check_hostname, self.hostnames))),
            allow=tuple(dict.fromkeys(map(check_network, self.allow))),
            extensions={name: extension(name).parse(given) for name, given in self.extensions.items()},
            database=None if self.database is None else check_database(self.database),
            user=None if self.user is None else check_role(self.user),
        )


def listening(request: Creation, facts: Facts) -> tuple[str, ...]:
    """Return the addresses that a new instance listens on: those asked for, else loopback, by IPv6 too where the machine has it."""
    return request.listen or (("127.0.0.1", "::1") if facts.loopback_v6 else ("127.0.0.1",))


def born(request: Creation, facts: Facts, identity: str, major: int, port: int, pooled_port: int | None) -> Instance:
    """Return the first record of a new instance; the request is already checked."""
    reach = Reach(listening(request, facts), request.hostnames, request.allow)
    size = request.size or sizes.DEFAULT
    want = Instance(identity, request.name, major, port, size=size, direct=reach, pooled=reach)
    if request.database is not None:
        want = replace(want, databases=(Database(request.database, request.user),))
    # parameters first: what is chosen for the pooler follows from max_connections
    want = replace(want, parameters=checked_parameters(replace(want, extensions=request.extensions), request.parameters))
    for name in request.extensions:
        want = _extended(want, name, request.extensions[name], facts, pooled_port)
    budget.check(want, facts)
    return want


def differs(request: Creation, want: Instance) -> str | None:
    """Return the first thing in which a request for a new instance differs from the one of that name, or None: the same wish again."""
    given = {
        "version": (request.version, want.version),
        "size": (request.size, want.size),
        "port": (request.port, want.port),
        "listen": (request.listen or None, want.direct.listen),
        "hostname": (request.hostnames or None, want.direct.hostnames),
        "allow": (request.allow or None, want.direct.allow),
        "database": (request.database, request.database if any(d.name == request.database for d in want.databases) else ""),
        "user": (request.user, request.user if any(u.name == request.user for u in want.users) else ""),
    }
    for name, (asked, there) in given.items():
        if asked is not None and asked != there:
            return f"--{name}"
    brought = extra(want)
    for name, value in request.parameters.items():
        if not parameters.equal(want.version, name, value, want.parameters.get(name.lower(), "on" if name == "ssl" else ""), brought):
            return f"--param {name}"
    for name, settings in request.extensions.items():
        if name not in want.extensions or any(want.extensions[name].get(key) != value for key, value in settings.items()):
            return f"--extension {name}"
    return None


def checked_parameters(want: Instance, given: Mapping[str, str]) -> dict[str, str]:
    """Return parameters by their names with the values to keep, or refuse one."""
    for name in given:
        owner = next((e for e in want.extensions if name.lower() in extension(e).parameters), None)
        if owner is not None:
            hint = say("howdah extensions set {instance} {owner} {name}=VALUE", instance=want.name, owner=owner, name=name)
            raise Invalid("managed_parameter", say("cannot set {name} here: extension {owner} brings it", name=name, owner=owner), hint)
    return {name.lower(): parameters.parse(want.version, name, text) for name, text in given.items()}


def with_parameters(
    want: Instance, given: Mapping[str, str], unset: Sequence[str], facts: Facts, *, restart: bool
) -> tuple[Instance, tuple[Change, ...]]:
    """Return the record with parameters set and unset, and what changes; the same record when nothing does."""
    fresh = checked_parameters(want, given)
    gone = {parameters.find(want.version, name).name for name in unset}
    if both := gone & fresh.keys():
        raise Invalid("contradiction", say("cannot set and unset {name} at once", name=min(both)))
    after = {name: value for name, value in want.parameters.items() if name not in gone}
    for name, value in fresh.items():
        there = after.get(name, effective_default(want, name))
        if there is None or not parameters.equal(want.version, name, there, value):
            after[name] = value
    changes = tuple(_change(want, name, want.parameters.get(name), after.get(name)) for name in _changed(want.parameters, after))
    costly = {change.name for change in changes if change.how == "restart"}
    released = restart and bool(costly or set(want.deferred) & fresh.keys())
    if not changes and not released:
        return want, ()
    waiting = () if released else tuple(sorted({*want.deferred, *(() if restart else costly)}))
    wished = want.next(parameters=after, deferred=waiting)
    budget.check(wished, facts)
    return wished, changes


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _change(want: Instance, name: str, old: str | None, new: str | None) -> Change:
    default = effective_default(want, name)
    how = "restart" if parameters.needs_restart(want.version, name) else "reload"
    return Change(name, old if old is not None else default, new if new is not None else default, how)


def parameter_row(want: Instance, name: str) -> Mapping[str, Any]:
    """Return a parameter that was set: its value, default, unit, and whether a change needs a restart."""
    found = parameters.find(want.version, name, extra(want))
    return {
        "name": name,
        "value": want.parameters[name],
        "default": effective_default(want, name),
        "unit": found.unit,
        "applied_by": "restart" if found.context == "postmaster" else "reload",
        "pending_restart": name in want.deferred,
    }


def effective_default(want: Instance, name: str) -> str | None:
    """Return what a parameter is when nobody set it: TLS on, the size's value, or PostgreSQL's own."""
    if name == "ssl":
        return "on"
    return sizes.defaults(want.size, want.version).get(name, parameters.find(want.version, name).default)


def with_extension(want: Instance, name: str, given: Mapping[str, str], facts: Facts, pooled_port: int | None) -> Instance:
    """Return the record with an extension added; NotFound for an unknown one, Conflict where it is there with other settings."""
    parsed = extension(name).parse(given)
    if name in want.extensions:
        other = sorted(key for key, value in parsed.items() if want.extensions[name].get(key) != value)
        if other:
            hint = say("howdah extensions set {instance} {name} {key}=VALUE", instance=want.name, name=name, key=other[0])
            raise Conflict("already_added", say("cannot add {name}: it is there with another {key}", name=name, key=other[0]), hint)
        return want
    wished = _extended(want, name, parsed, facts, pooled_port).next()
    budget.check(wished, facts)
    return wished


def _extended(want: Instance, name: str, parsed: Mapping[str, str], facts: Facts, pooled_port: int | None) -> Instance:
    settings = _pooler_chosen(want, parsed, facts, pooled_port) if extension(name).program else dict(parsed)
    return replace(want, extensions={**want.extensions, name: settings})


def _pooler_chosen(want: Instance, parsed: Mapping[str, str], facts: Facts, port: int | None) -> dict[str, str]:
    """Fix what would otherwise drift with the machine: an upgrade of PgBouncer must not change the mode of a living pool."""
    _check_known(parsed, facts)
    mode = "transaction" if facts.pooler_version >= CARRIES_PREPARED else "session"
    clients = str(budget.default_clients(want, facts))
    return {"pool_mode": mode, "max_client_conn": clients, "listen_port": str(port), **parsed}


def _check_known(given: Mapping[str, str], facts: Facts) -> None:
    if not facts.pooler_version:
        hint = say("install it: sudo apt-get install pgbouncer, or run `howdah quickstart`")
        raise Unavailable("no_pgbouncer", say("cannot add the pooler: PgBouncer is not installed"), hint)
    entry = extension("pooler")
    for name in given:
        since = entry.settings[name].since
        if facts.pooler_version < since:
            have, need = (".".join(map(str, v)) for v in (facts.pooler_version, since))
            message = say("cannot set {name}: PgBouncer {have} does not know it, {need} does", name=name, have=have, need=need)
            raise Invalid("unsupported_setting", message)


def with_extension_settings(want: Instance, name: str, given: Mapping[str, str], facts: Facts) -> tuple[Instance, tuple[Change, ...]]:
    """Return the record with an extension's settings changed, and what changes."""
    entry = extension(name)
    parsed = entry.parse(given)
    if name not in want.extensions:
        hint = say("howdah extensions add {instance} {name}", instance=want.name, name=name)
        raise NotFound("not_added", say("cannot set extension {name}: it is not added", name=name), hint)
    if entry.program:
        _check_known(parsed, facts)
    before = want.extensions[name]
    after = {**before, **parsed}
    if after == dict(before):
        return want, ()
    changes = tuple(Change(key, _shown_default(entry.name, key, before), after[key], _how(name, key)) for key in _changed(before, after))
    wished = want.next(extensions={**want.extensions, name: after})
    budget.check(wished, facts)
    return wished, changes


def _shown_default(name: str, key: str, before: Mapping[str, str]) -> str | None:
    entry = extension(name)
    default = entry.settings[key].default if key in entry.settings else entry.parameters[key].default
    return before.get(key, default)


def _how(name: str, key: str) -> str:
    entry = extension(name)
    if key in entry.settings:
        return "takeover" if entry.settings[key].swaps else "reload"
    return "restart" if entry.parameters[key].context == "postmaster" else "reload"


def without_extension(want: Instance, name: str) -> Instance:
    """Return the record without an extension; the same record where it is not there."""
    extension(name)
    if name not in want.extensions:
        return want
    return want.next(extensions={key: value for key, value in want.extensions.items() if key != name})


def with_reach(
    want: Instance, hops: Sequence[Hop], listen: Sequence[str], hostnames: Sequence[str], allow: Sequence[str]
) -> tuple[Instance, tuple[Change, ...]]:
    """Return the record with the reach of hops changed; what is not said stays."""
    asked = {
        "listen": tuple(dict.fromkeys(map(check_address, listen))),
        "hostnames": tuple(dict.fromkeys(map(check_hostname, hostnames))),
        "allow": tuple(dict.fromkeys(map(check_network, allow))),
    }
    said = {key: value for key, value in asked.items() if value}
    after = {hop: replace(want.reach(hop), **said) for hop in hops}
    changes = tuple(
        Change(f"{hop}.{key}", ",".join(getattr(want.reach(hop), key)), ",".join(value), _reach_how(hop, key))
        for hop in hops
        for key, value in said.items()
        if getattr(want.reach(hop), key) != value
    )
    return (want.next(**after), changes) if changes else (want, ())


def _reach_how(hop: Hop, key: str) -> str:
    if key != "listen":
        return "reload"
    return "restart" if hop == "direct" else "takeover"


def with_database(want: Instance, name: str, owner: str | None, icu_locale: str | None) -> Instance:
    """Return the record with a database added; Conflict where it is there with another owner or locale."""
    database = Database(check_database(name), owner, icu_locale)
    there = next((d for d in want.databases if d.name == name), None)
    if there is not None:
        if (owner is not None and there.owner != owner) or (icu_locale is not None and there.icu_locale != icu_locale):
            raise Conflict("already_there", say("cannot add database {name}: it is there with another owner or locale", name=name))
        return want
    if owner is not None:
        find_user(want, owner)
    return want.next(databases=(*want.databases, database))


def without_database(want: Instance, name: str) -> Instance:
    """Return the record without a database; NotFound where it is not there."""
    find_database(want, name)
    users = tuple(replace(u, databases=tuple(d for d in u.databases if d != name)) for u in want.users)
    return want.next(databases=tuple(d for d in want.databases if d.name != name), users=users)


def find_database(want: Instance, name: str) -> Database:
    """Return the wanted database of that name, or NotFound."""
    found = next((d for d in want.databases if d.name == name), None)
    if found is None:
        hint = say("howdah databases list {instance}", instance=want.name)
        raise NotFound("no_such_database", say("cannot find database {name} in {instance}", name=shown(name), instance=want.name), hint)
    return found


def find_user(want: Instance, name: str) -> User:
    """Return the wanted user of that name, or NotFound."""
    found = next((u for u in want.users if u.name == name), None)
    if found is None:
        hint = say("howdah users list {instance}", instance=want.name)
        raise NotFound("no_such_user", say("cannot find user {name} in {instance}", name=shown(name), instance=want.name), hint)
    return found


def with_user(want: Instance, name: str, verifier: Secret, databases: Sequence[str], *, shown_once: bool) -> Instance:
    """Return the record with a user added; its databases must be wanted ones."""
    for database in databases:
        find_database(want, database)
    user = User(check_role(name), verifier, tuple(dict.fromkeys(databases)), shown_once)
    return want.next(users=(*want.users, user))


def without_user(want: Instance, name: str) -> Instance:
    """Return the record without a user; Conflict where it owns a wanted database."""
    find_user(want, name)
    owned = next((d.name for d in want.databases if d.owner == name), None)
    if owned is not None:
        hint = say("delete the database first: howdah databases delete {instance} {name}", instance=want.name, name=owned)
        raise Conflict("owns_database", say("cannot delete user {name}: it owns database {owned}", name=name, owned=owned), hint)
    return want.next(users=tuple(u for u in want.users if u.name != name))


def with_password(want: Instance, name: str, verifier: Secret, *, shown_once: bool) -> Instance:
    """Return the record with a user's password changed."""
    find_user(want, name)
    return want.next(users=tuple(replace(u, verifier=verifier, shown=shown_once) if u.name == name else u for u in want.users))


def with_grants(want: Instance, name: str, databases: Sequence[str], *, grant: bool) -> Instance:
    """Return the record with databases granted to a user, or taken from it; the owner's own cannot be taken."""
    user = find_user(want, name)
    for database in databases:
        if find_database(want, database).owner == name and not grant:
            raise Conflict("owns_database", say("cannot revoke {database} from {name}, who owns it", database=database, name=name))
    kept = tuple(d for d in user.databases if d not in databases)
    after = tuple(dict.fromkeys((*user.databases, *databases))) if grant else kept
    if after == user.databases:
        return want
    return want.next(users=tuple(replace(u, databases=after) if u.name == name else u for u in want.users))


def mark_shown(want: Instance, name: str) -> Instance:
    """Return the same wish, with a user's password marked as shown."""
    return replace(want, users=tuple(replace(u, shown=True) if u.name == name else u for u in want.users))


def restart_names(changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the names of the changes that need a restart."""
    return tuple(change.name for change in changes if change.how == "restart")


def explain_mode(facts: Facts) -> Phrase:
    """Say which pool mode is the default here, and why."""
    version = ".".join(map(str, facts.pooler_version))
    if facts.pooler_version >= CARRIES_PREPARED:
        return say("pool_mode transaction: PgBouncer {version} carries prepared statements", version=version)
    return say("pool_mode session: PgBouncer {version} does not carry prepared statements (1.21 and newer do)", version=version)
