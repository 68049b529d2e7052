"""The pooler's concerns, the same for every engine: which generation serves, whether it has loaded what lies there, which may go.

A pooler is a row of generations. The newest serves; whatever a running PgBouncer cannot reload, and whatever is wrong with its process,
is put right by a further generation that takes the new logins over. An old one is retired when its last client has left.
"""

from __future__ import annotations

from collections.abc import Sequence

from howdah.catalog.extensions import extension
from howdah.core import budget
from howdah.core import files as texts
from howdah.core.host import WantedFile
from howdah.core.instance import Hop, Instance
from howdah.core.observed import Generation, Observed
from howdah.core.steps import (
    BeginPooler,
    ChangePooler,
    EndPlaintext,
    ReloadPooler,
    RemovePooler,
    ResumePooler,
    RetirePooler,
    StartPooler,
    SteerPooler,
    Step,
)
from howdah.phrase import Phrase, say

# what a RELOAD may change, and harms who is connected
_SWAPS = frozenset(name for name, setting in extension("pooler").settings.items() if setting.swaps)
# below this version the lookup runs in the database that the client asked for, so the function must stand in every one
_AUTH_DBNAME = (1, 19)
# from this version one client can be ended by itself (KILL_CLIENT)
KILLS_CLIENTS = (1, 24)


def lookup_places(seen: Observed) -> tuple[str, ...]:
    """Return the databases in which the lookup function stands, altered or not."""
    return tuple(sorted(name for name, inside in seen.inside.items() if inside.lookup))


def lookup_missing(seen: Observed) -> tuple[str, ...]:
    """Return the databases that need the lookup function and have it not, or altered."""
    everywhere = seen.facts.pooler_version < _AUTH_DBNAME
    needed = seen.inside if everywhere else {"postgres": seen.inside["postgres"]} if "postgres" in seen.inside else {}
    return tuple(sorted(n for n, inside in needed.items() if not (inside.closed or (inside.lookup_right and inside.lookup_connect))))


def _files(want: Instance, seen: Observed, number: int) -> tuple[WantedFile, ...]:
    pair = next(pair for pair in seen.disk.pairs["pooled"] if pair.trusted)
    return texts.pooler_files(want, seen.layout, pair, seen.facts, number)


def pooler_absent(want: Instance, seen: Observed) -> Sequence[Step]:
    """Without a wish for a pooler there is none: no process, no key, no file."""
    if want.pooler is not None:
        return ()
    return pooler_stopped(want, seen) or ((RemovePooler(want, say("the pooler is no longer wanted")),) if seen.disk.pooler else ())


def pooler_stopped(want: Instance, seen: Observed) -> Sequence[Step]:
    """No generation of the pooler is left."""
    return [RetirePooler(want, say("the pooler is not wanted running"), each.number, "now") for each in seen.pooler]


def _newest(seen: Observed) -> Generation | None:
    return seen.pooler[-1] if seen.pooler else None


def pooler_begun(want: Instance, seen: Observed) -> Sequence[Step]:
    """The pooler of an instance that is being made starts while PostgreSQL does; later nobody may find it without its server."""
    if want.pooler is None or want.settled or seen.pooler:
        return ()
    return (BeginPooler(want, say("PgBouncer can start while PostgreSQL does"), _files(want, seen, 1)),)


def pooler_steered(want: Instance, seen: Observed) -> Sequence[Step]:
    """New logins come to the newest generation, also after one has left the row and the places in the kernel's group have changed."""
    newest = _newest(seen)
    if want.pooler is None or newest is None or newest.steered or not (newest.proven and newest.keeper and newest.reachable):
        return ()
    return (SteerPooler(want, say("an older generation of the pooler has gone"), newest.number),)


def pooler_running(want: Instance, seen: Observed) -> Sequence[Step]:
    """The newest generation is alive, supervised, answers, and can become what is wanted without a new process."""
    if want.pooler is None:
        return ()
    newest = _newest(seen)
    if newest is None:
        return (StartPooler(want, say("there is no pooler yet"), 1, _files(want, seen, 1)),)
    if not (want.settled or newest.proven or seen.pooler[:-1]):
        return (StartPooler(want, say("PgBouncer was begun, and is not proven yet"), newest.number, _files(want, seen, newest.number)),)
    why = _generation_due(want, seen, newest)
    return _next(want, seen, newest, why) if why is not None else ()


def _next(want: Instance, seen: Observed, newest: Generation, why: Phrase) -> Sequence[Step]:
    number = newest.number + 1
    return (StartPooler(want, why, number, _files(want, seen, number)),)


def _generation_due(want: Instance, seen: Observed, newest: Generation) -> Phrase | None:
    if not newest.alive:
        return say("PgBouncer is not running")
    if not newest.keeper:
        return say("PgBouncer's keeper is not running")
    if not newest.proven:
        return say("PgBouncer was started, but not proven")
    if not newest.reachable:
        return say("PgBouncer is alive, but its console does not answer")
    if newest.routes - {(str(seen.layout.socket_dir), want.port)}:
        return say("PgBouncer sends databases elsewhere")  # a RELOAD leaves those in use as they are (loader.c, set_dbs_dead)
    if newest.version != seen.facts.pooler_version:
        return say("the installed PgBouncer is another version than the running one")
    count, wanted = len(newest.configs), budget.processes(want, seen.facts)
    if count != wanted:
        return say("the pooler has {count} processes, and {wanted} are wanted", count=count, wanted=wanted)
    if newest.replaced:
        return say("an update has replaced what {program} still uses: {files}", program="PgBouncer", files=", ".join(newest.replaced))
    fixed = sorted(name for name in _differing(want, seen, newest) if name in newest.fixed or name in _SWAPS)
    return say("a running PgBouncer cannot change {names}", names=", ".join(fixed)) if fixed else None


def _differing(want: Instance, seen: Observed, generation: Generation) -> list[str]:
    wanted = texts.wanted_configs(_files(want, seen, generation.number))
    every = zip(wanted, generation.configs, strict=False)  # other numbers of them are told apart before
    return sorted({name for each, seen in every for name, value in each.items() if not texts.config_holds(name, value, seen.get(name))})


def pooler_plaintext_ended(want: Instance, seen: Observed) -> Sequence[Step]:
    """Where its end was agreed to, no pooled session from before TLS was required is still open."""
    newest = _newest(seen)
    if newest is None or not (want.tls and want.end_plaintext) or not any(each.plaintext for each in seen.pooler):
        return ()
    if newest.config.get("client_tls_sslmode") != "require":
        return ()  # pooler_loaded comes first to those
    count = sum(len(each.plaintext) for each in seen.pooler)
    why = say("{count} pooled sessions are still open in plaintext", count=count)
    if newest.version >= KILLS_CLIENTS:
        return (EndPlaintext(want, why, "pooled"),)
    return _next(want, seen, newest, why) if newest.plaintext else ()


def pooler_retired(want: Instance, seen: Observed) -> Sequence[Step]:
    """An older generation goes when its last client has left, or when those that are left agreed to be ended."""
    if want.pooler is None:
        return ()
    return [step for each in seen.pooler[:-1] if (step := _retired(want, each)) is not None]


def _retired(want: Instance, older: Generation) -> Step | None:
    """Return how an older generation goes, or None."""
    if not older.clients:  # nor has one that is dead, or hangs
        return RetirePooler(want, say("generation {number} of the pooler has no client left", number=older.number), older.number)
    if older.identity in want.end_of or (want.end_plaintext and want.tls and older.plaintext):
        why = say("the clients of generation {number} of the pooler are to be ended", number=older.number)
        return RetirePooler(want, why, older.number, "soon")
    return None


def pooler_loaded(want: Instance, seen: Observed) -> Sequence[Step]:
    """The newest generation has loaded the wanted file to its last line, and speaks so on the wire."""
    newest = _newest(seen)
    if want.pooler is None or newest is None or not newest.reachable:
        return ()  # what keeps another generation from taking its place was told already
    wanted = _files(want, seen, newest.number)
    if any(not _lies_there(file, newest, seen) for file in wanted):
        return (ChangePooler(want, say("PgBouncer's files are not as wanted"), newest.number, wanted),)
    why = _not_loaded(want, seen, newest, texts.pooler_digest(wanted))
    return (ReloadPooler(want, why, newest.number),) if why is not None else ()


def _lies_there(file: WantedFile, generation: Generation, seen: Observed) -> bool:
    found = generation.files.get(file.name)
    return found is not None and (found.digest, found.mode, found.owner) == (texts.digest(file.text), file.mode, seen.facts.pooler_user)


def _not_loaded(want: Instance, seen: Observed, newest: Generation, digest: str) -> Phrase | None:
    if newest.loaded != digest:
        return say("PgBouncer has loaded another file than the one that lies there")
    differing = _differing(want, seen, newest)
    if differing:
        return say("PgBouncer reports another value of {names}", names=", ".join(sorted(differing)))
    return wire_differs(want, seen, "pooled") if len(seen.pooler) == 1 else None


def wire_differs(want: Instance, seen: Observed, hop: Hop) -> Phrase | None:
    """Return what a stranger on the wire is told that is not as wanted, or None."""
    wire = seen.direct if hop == "direct" else seen.pooled
    if wire is None or not wire.answers:
        return say("the {hop} port does not answer", hop=hop)
    if wire.lax:
        return say("the {hop} port lets users in without a password", hop=hop)
    if not want.tls:
        return say("the {hop} port speaks TLS though ssl is off", hop=hop) if wire.serial else None
    if not wire.plaintext_refused:
        return say("the {hop} port lets plaintext in", hop=hop)
    pair = next(pair for pair in seen.disk.pairs[hop] if pair.trusted)
    return say("the {hop} port serves another certificate than the newest", hop=hop) if wire.serial != pair.serial else None


def pooler_resumed(want: Instance, seen: Observed) -> Sequence[Step]:
    """Nothing is left paused or disabled."""
    if want.pooler is None:
        return ()
    return [
        ResumePooler(want, say("{names} left paused or disabled", names=", ".join(each.halted)), each.number)
        for each in seen.pooler
        if each.halted
    ]
