"""One PostgreSQL server on one host, with a pooler in front where it is wanted. Read the tuples at the end aloud: the life of an instance.

Every concern judges by what was observed, never by what was written, and returns the steps that would satisfy it. None of them acts.
"""

from __future__ import annotations

from collections.abc import Sequence

from howdah.catalog import parameters
from howdah.catalog.extensions import catalog as extension_catalog
from howdah.certificate import LONGEST_DAYS
from howdah.core import files as texts
from howdah.core import rotation
from howdah.core.endpoint import certificate_names
from howdah.core.host import WantedFile
from howdah.core.instance import HOPS, LOOKUP_ROLE, PROBE_ROLE, Hop, Instance
from howdah.core.observed import Observed, Pair
from howdah.core.plan import Engine
from howdah.core.steps import (
    CreateDatabase,
    CreateExtension,
    DropDatabase,
    DropExtension,
    DropUser,
    EndPlaintext,
    EnterDatabase,
    InstallLookup,
    IssueCertificate,
    MoveToTrash,
    ReloadServer,
    RemoveLookup,
    RestartServer,
    SetAccess,
    SetServiceRoles,
    SetUser,
    StartServer,
    Step,
    StopServer,
    SweepLogs,
    TakeData,
    TakeFromTrash,
    TurnAuthority,
    WriteServerFiles,
)
from howdah.engines import pooling
from howdah.errors import Failed
from howdah.phrase import Phrase, say

# in seconds: what lives shorter was made where something renewed it
_SHORT_LIFE = 90 * 86_400.0


_ASTRAY_SECONDS = 60


def data_directory(want: Instance, seen: Observed) -> Sequence[Step]:
    """There is a data directory; one that is gone is a loss, and never made anew."""
    if seen.disk.data == "ready":
        return ()
    if seen.disk.trashed:
        return (TakeFromTrash(want, say("the instance was taken back")),)
    if want.settled:
        hint = say("mount the disk that holds it, or restore it; `howdah delete {name}` gives the instance up", name=want.name)
        raise Failed("data_missing", say("cannot find the data directory of {name}: it was there before", name=want.name), hint)
    return (TakeData(want, say("the instance has no data directory yet")),)


def authority(want: Instance, seen: Observed) -> Sequence[Step]:
    """The authority's successor is known in time, issues in time, and nothing is left of a turn that was killed."""
    there = seen.disk.authority
    if there is None:
        return ()
    if there.cut_off:
        return (TurnAuthority(want, say("a change of the authority was cut off"), None),)
    pressing = rotation.due(there, seen.facts.now)
    return (TurnAuthority(want, pressing[1], pressing[0]),) if pressing is not None else ()


def certificates(want: Instance, seen: Observed) -> Sequence[Step]:
    """Each hop has a certificate with every name it is known by, and more than a third of its life left."""
    return [
        IssueCertificate(want, why, hop) for hop in HOPS if want.hop_port(hop) and (why := _certificate_due(want, hop, seen)) is not None
    ]


def _certificate_due(want: Instance, hop: Hop, seen: Observed) -> Phrase | None:
    pair = _newest(seen, hop)
    if pair is None:
        return say("{hop}: there is no certificate", hop=hop)
    if pair.serial in want.renewed:
        return say("{hop}: another certificate was asked for", hop=hop)
    if not pair.current:
        return say("{hop}: the certificate was issued by another authority than the one that issues now", hop=hop)
    if not certificate_names(want, hop, seen.facts) <= pair.names:
        return say("{hop}: the certificate lacks a name", hop=hop)
    if pair.not_after - pair.not_before >= (LONGEST_DAYS + 1) * 86400:
        return say("{hop}: the certificate lives longer than {days} days", hop=hop, days=LONGEST_DAYS)
    if not pair.not_before <= seen.facts.now <= pair.not_after - (pair.not_after - pair.not_before) / 3:
        return say("{hop}: the certificate has less than a third of its life left", hop=hop)
    if not seen.facts.renews and pair.not_after - pair.not_before < _SHORT_LIFE:
        return say("{hop}: the certificate lives shortly, and nothing renews it any more", hop=hop)
    return None


def _newest(seen: Observed, hop: Hop) -> Pair | None:
    return next((pair for pair in seen.disk.pairs.get(hop, ()) if pair.trusted), None)


def _wanted_files(want: Instance, seen: Observed) -> tuple[WantedFile, ...]:
    pair = _newest(seen, "direct")
    return seen.once("files", lambda: texts.server_files(want, seen.layout, pair, seen.facts)) if pair is not None else ()


def files(want: Instance, seen: Observed) -> Sequence[Step]:
    """PostgreSQL's files lie there, to the byte, with their mode and owner."""
    wanted = _wanted_files(want, seen)
    changed = tuple(f for f in wanted if not _lies_there(f, seen))
    names = ", ".join(f.name for f in changed)
    return (WriteServerFiles(want, say("{names} not as wanted", names=names), wanted),) if changed else ()


def _lies_there(file: WantedFile, seen: Observed) -> bool:
    found = seen.disk.files.get(file.name)
    if found is None or found.ctime > seen.facts.now + _ASTRAY_SECONDS:
        return False  # written while the clock was wrong: it would be newer than every load of it
    return (found.digest, found.mode, found.owner) == (texts.digest(file.text), file.mode, seen.facts.server_user)


def running(want: Instance, seen: Observed) -> Sequence[Step]:
    """PostgreSQL runs and can be reached; alive and unreachable is not the same as absent. A first pooler begins beside a first start."""
    state = seen.server.state
    if state == "absent":
        return (*pooling.pooler_begun(want, seen), StartServer(want, say("PostgreSQL is not running")))
    if state == "unreachable":
        return (RestartServer(want, say("PostgreSQL is alive, but does not answer on its socket")),)
    return (StartServer(want, say("PostgreSQL is starting")),) if state == "starting" else ()


def restarted(want: Instance, seen: Observed) -> Sequence[Step]:
    """No setting waits for a restart unless it was asked to wait, and no postmaster runs that was to be replaced."""
    if want.restart_of and seen.server.identity == want.restart_of:
        return (RestartServer(want, say("a restart was asked for")),)
    if deaf := _deaf(want, seen):
        return (RestartServer(want, say("PostgreSQL does not listen on {addresses}", addresses=", ".join(deaf))),)
    waiting = _awaiting(want, seen)
    names = ", ".join(waiting)
    return (RestartServer(want, say("a restart applies {names}", names=names)),) if waiting else ()


def _deaf(want: Instance, seen: Observed) -> list[str]:
    """Return the addresses on which PostgreSQL does not listen and was not asked to wait with it."""
    if {"listen_addresses", "port"} & {*want.deferred}:
        return []
    return sorted(address for address in want.direct.listen if (address, want.port) not in seen.server.listens)


def _awaiting(want: Instance, seen: Observed) -> list[str]:
    """Return the settings that only a start can apply and that were not asked to wait for one; what left the file is among them."""
    waiting = {name for name in unloaded(want, seen) if _waits_for_start(want, seen, name)}
    return sorted((waiting | seen.server.pending) - {*want.deferred})


def _waits_for_start(want: Instance, seen: Observed, name: str) -> bool:
    """Tell whether only a start can apply a parameter: by its nature, or because the library that brings it is not loaded yet."""
    brought = texts.extra(want)
    by_nature = parameters.needs_restart(want.version, name, brought) or (name in brought and name not in seen.server.settings)
    return by_nature or name in seen.server.pending


def unloaded(want: Instance, seen: Observed) -> dict[str, str]:
    """Return the parameters whose wanted value the server does not report, with the value that it does report."""
    return seen.once("unloaded", lambda: _unloaded(want, seen))


def _unloaded(want: Instance, seen: Observed) -> dict[str, str]:
    pair = _newest(seen, "direct")
    wanted = texts.server_parameters(want, seen.layout, pair) if pair is not None else {}
    extra = texts.extra(want)
    reported = {name.lower(): value for name, value in seen.server.settings.items()}  # the server writes DateStyle, TimeZone
    return {
        name: reported.get(name, "")
        for name, value in wanted.items()
        if not (name in reported and parameters.holds(want.version, name, value, reported[name], extra))
    }


def loaded(want: Instance, seen: Observed) -> Sequence[Step]:
    """PostgreSQL has loaded what lies there: digest, every value, hba and ident, certificate and the refusal of plaintext agree."""
    wanted = _wanted_files(want, seen)
    why = _not_loaded(want, seen, texts.carried_digest(wanted))
    return (ReloadServer(want, why, texts.carried_digest(wanted)),) if why is not None else ()


def _not_loaded(want: Instance, seen: Observed, digest: str) -> Phrase | None:
    if seen.server.digest != digest:
        return say("PostgreSQL has loaded other files than those that lie there")
    newer = sorted(name for name, found in seen.disk.files.items() if found.ctime > seen.server.loaded_at)
    if newer:
        return say("{names} changed after PostgreSQL loaded its files", names=", ".join(newer))
    if seen.server.errors:
        return say("PostgreSQL reports {error}", error=seen.server.errors[0])
    stale = sorted(name for name in unloaded(want, seen) if not _waits_for_start(want, seen, name))
    if stale:
        return say("PostgreSQL reports another value of {names}", names=", ".join(stale))
    # what no reload can bring (an address that is new, or was another's at the start) is looked at after the restart that comes next
    return None if _awaiting(want, seen) or _deaf(want, seen) else pooling.wire_differs(want, seen, "direct")


def plaintext_ended(want: Instance, seen: Observed) -> Sequence[Step]:
    """Where its end was agreed to, no session from before TLS was required is still open on the direct port."""
    if not (want.tls and want.end_plaintext and seen.server.plaintext):
        return ()
    count = len(seen.server.plaintext)
    return (EndPlaintext(want, say("{count} sessions are still open in plaintext", count=count), "direct"),)


def people(want: Instance, seen: Observed) -> Sequence[Step]:
    """Roles, then databases: what is missing of both is made in one pass, for a look costs as much as a step here."""
    return (*roles(want, seen), *databases(want, seen))


def roles(want: Instance, seen: Observed) -> Sequence[Step]:
    """Howdah's own roles have exactly their attributes; every wanted user can log in; roles that it made and nobody wants are gone."""
    steps: list[Step] = (
        [] if _service_roles_right(want, seen) else [SetServiceRoles(want, say("Howdah's own roles are not as they must be"))]
    )
    known = seen.server.roles
    for user in want.users:
        if user.name not in known or known[user.name].mark != texts.digest(user.verifier.reveal()):
            steps.append(SetUser(want, say("user {name} has not got its password yet", name=user.name), user))
    unwanted = sorted(name for name, role in known.items() if role.mark and name not in {u.name for u in want.users})
    return [*steps, *(DropUser(want, say("user {name} is no longer wanted", name=name), name) for name in unwanted)]


def _service_roles_right(want: Instance, seen: Observed) -> bool:
    probe, lookup = seen.server.roles.get(PROBE_ROLE), seen.server.roles.get(LOOKUP_ROLE)
    if probe is None or probe.superuser or probe.replication or probe.createrole or probe.login:
        return False
    if want.pooler is None:
        return lookup is None or bool(pooling.lookup_places(seen))
    return lookup is not None and lookup.login and not (lookup.superuser or lookup.replication or lookup.createrole)


def databases(want: Instance, seen: Observed) -> Sequence[Step]:
    """Every wanted database is there with its owner and access; databases that Howdah made and nobody wants are gone."""
    known, wanted = seen.server.databases, {d.name: d for d in want.databases}
    create: list[Step] = [
        CreateDatabase(want, say("database {name} is not there, or not finished", name=name), database)
        for name, database in wanted.items()
        if name not in known or not known[name].made or known[name].owner != (database.owner or "postgres") or not known[name].connectable
    ]
    unwanted = sorted(name for name, found in known.items() if found.made and name not in wanted)
    drop: list[Step] = [DropDatabase(want, say("database {name} is no longer wanted", name=name), name) for name in unwanted]
    access: list[Step] = [
        SetAccess(want, say("access to database {name} is not as wanted", name=name), name)
        for name in wanted
        if name in known and (known[name].access != _granted(want, name) or known[name].public)
    ]
    return create or drop or access


def _granted(want: Instance, database: str) -> frozenset[str]:
    return frozenset(user.name for user in want.users if database in user.databases)


def lookup(want: Instance, seen: Observed) -> Sequence[Step]:
    """The pooler's lookup function stands, unaltered, wherever this PgBouncer needs it, and nowhere without a pooler."""
    if want.pooler is None:
        places = pooling.lookup_places(seen)
        return (RemoveLookup(want, say("there is no pooler to look users up"), places),) if places else ()
    return [
        InstallLookup(want, say("the lookup function is missing or altered in {name}", name=name), (name,))
        for name in pooling.lookup_missing(seen)
    ]


def extensions(want: Instance, seen: Observed) -> Sequence[Step]:
    """SQL extensions are in every database, or in none."""
    entries = [entry for entry in extension_catalog().values() if entry.creates]
    steps: list[Step] = []
    for entry in entries:
        name = entry.creates or ""
        for database, inside in sorted(seen.inside.items()):
            if database == "template1" or inside.closed:
                continue
            if entry.name in want.extensions and name not in inside.extensions:
                steps.append(
                    CreateExtension(want, say("extension {name} is not in {database}", name=name, database=database), database, name)
                )
            if entry.name not in want.extensions and name in inside.extensions:
                steps.append(DropExtension(want, say("extension {name} is no longer wanted", name=name), database, name))
    return steps


def entered(want: Instance, seen: Observed) -> Sequence[Step]:
    """Every database that admits connections lets us look into it."""
    closed = sorted(name for name, inside in seen.inside.items() if inside.closed)
    return [EnterDatabase(want, say("database {name} lets nobody in", name=name), name) for name in closed]


def swept(want: Instance, seen: Observed) -> Sequence[Step]:
    """PostgreSQL's logs and PgBouncer's are kept within today's limit."""
    if not seen.server.swept:
        return (SweepLogs(want, say("nobody removes the oldest of PostgreSQL's logs")),)
    return () if all(each.bounded for each in seen.pooler) else (SweepLogs(want, say("PgBouncer's logs are kept within another limit")),)


def server_stopped(want: Instance, seen: Observed) -> Sequence[Step]:
    """PostgreSQL does not run."""
    return (StopServer(want, say("PostgreSQL is still running")),) if seen.server.state != "absent" else ()


def trashed(want: Instance, seen: Observed) -> Sequence[Step]:
    """Nothing of the instance is left in place: keys destroyed, the data directory in the trash."""
    return (MoveToTrash(want, say("the instance was deleted")),) if seen.disk.present else ()


ENGINE = Engine(
    "single",
    {
        "running": (
            data_directory,
            pooling.pooler_absent,
            authority,
            certificates,
            files,
            running,
            loaded,
            restarted,
            plaintext_ended,
            people,
            lookup,
            pooling.pooler_steered,
            pooling.pooler_running,
            pooling.pooler_plaintext_ended,
            pooling.pooler_retired,
            pooling.pooler_loaded,
            pooling.pooler_resumed,
            extensions,
            swept,
            entered,
        ),
        "stopped": (pooling.pooler_stopped, server_stopped),
        "deleted": (pooling.pooler_stopped, server_stopped, trashed),
    },
)
