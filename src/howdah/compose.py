"""The composition root: alone it builds store, host and engines, and hands them to the verbs. Each edge asks here for a service.

Everything heavy is imported inside the function that needs it: a command that only reads must start in a quarter of a second.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from howdah.store.lease import holder_of, lease
from howdah.store.sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, NoReturn

    from howdah.connect import Snippet, Target
    from howdah.core.advice import Advice, Watched
    from howdah.core.aging import Older
    from howdah.core.boot import BootSeen
    from howdah.core.finding import Finding
    from howdah.core.instance import Instance
    from howdah.core.observed import Session
    from howdah.core.programs import Used
    from howdah.core.room import Room
    from howdah.core.rotation import Bundle
    from howdah.core.samples import Shelf
    from howdah.host.local import LocalHost
    from howdah.host.ownfiles import Edit
    from howdah.secret import Secret
    from howdah.service.people import People
    from howdah.service.reading import Reading
    from howdah.service.rounds import Rounds
    from howdah.service.verbs import Service
    from howdah.verify import Report

TRASH_SECONDS = 600.0
PATIENCE_SECONDS = 60.0


def service(home: Path, *, trash_seconds: float = TRASH_SECONDS) -> Service:
    """Return the verbs over the state below `home`."""
    from howdah.engines.single import ENGINE
    from howdah.reconciler import Reconciler
    from howdah.service.verbs import Service

    store, host = open_store(home, make=True), local_host(home)
    take: Callable[..., AbstractContextManager[None]] = partial(lease, home)
    return Service(store, host, partial(holder_of, home), Reconciler(store, host, {ENGINE.name: ENGINE}), take, trash_seconds)


def reading(home: Path) -> Reading:
    """Return the verbs that only look at the state below `home`; a home that is not there stays so."""
    from howdah.host.watch import LocalWatch
    from howdah.service.reading import Reading

    return Reading(open_store(home, make=False), LocalWatch(home), partial(holder_of, home))


def rounds(home: Path, *, trash_seconds: float = TRASH_SECONDS) -> Rounds:
    """Return the loop over the state below `home`, to be kept running."""
    from howdah.host.sentry import LocalSentry
    from howdah.service.rounds import Rounds

    sentry = LocalSentry(home)
    return Rounds(lambda: serving(home, sentry.wake, trash_seconds=trash_seconds), sentry)


def serving(home: Path, wake: Callable[[], None], *, trash_seconds: float = TRASH_SECONDS) -> Service:
    """Return the verbs for one thread beside a loop that is kept running: what would be left to a detached pass wakes it instead."""
    from dataclasses import replace

    made, detached = service(home, trash_seconds=trash_seconds), local_host(home)

    def leave(words: Sequence[str]) -> None:
        wake() if words[0] == "repair" else detached.spawn_howdah(words)

    host = replace(detached, spawn_howdah=leave)
    return replace(made, host=host, reconciler=replace(made.reconciler, host=host))


def shelf(home: Path) -> Shelf:
    """Return where what was measured lies while nobody measures."""
    from howdah.store.samples import SqliteSamples

    return SqliteSamples(home)


def people(home: Path, *, make: bool = True) -> People:
    """Return the verbs about people who enter the console."""
    from howdah.host.passwords import Argon2
    from howdah.service.people import People
    from howdah.store.people import open_people

    return People(open_people(home, make=make), Argon2())


def local_host(home: Path) -> LocalHost:
    """Return this machine, with its state below `home`."""
    from howdah.host.local import LocalHost
    from howdah.host.outside import detached

    return LocalHost(home, detached(home))


def verify(home: Path, name: str) -> Report:
    """Check an instance from a client's seat, on both hops."""
    return prove(home, name)[0]


def prove(home: Path, name: str) -> tuple[Report, Callable[[], dict[str, Any]]]:
    """Check an instance as `verify` does; return beside the report how to make its receipt."""
    import time

    from howdah.host import receipts
    from howdah.host.seat import LocalSeat
    from howdah.verify import Making, judged, looked, receipt

    want, begun = open_store(home, make=False).find(name), time.monotonic()
    with lease(home, want.id, f"howdah verify {want.name}", PATIENCE_SECONDS):  # two looks at once would change each other's probe
        look = looked(want, LocalSeat(local_host(home), want), time.time())
        report = judged(look)
    seconds = time.monotonic() - begun
    return report, lambda: receipt(report, look, Making(*receipts.who_and_where(), seconds, receipts.programs()))


def receipt_place(path: Path) -> Callable[[str], None]:
    """Return how to put a receipt there, or refuse the place at once."""
    from howdah.host import receipts

    receipts.check(path)
    return partial(receipts.write, path)


def doctor(home: Path) -> tuple[Finding, ...]:
    """Tell whether this machine is fit, and what should be known of its instances; nothing is made or changed."""
    from howdah.core.doctor import judge
    from howdah.host.inspect import inspect

    return judge(inspect(home, local_host(home), open_store(home, make=False).instances()))


def authority(home: Path) -> Bundle | None:
    """Tell what clients verify with and where a change of it stands; None where there is none, or none that makes sense."""
    from howdah.core.layout import Layout
    from howdah.host import bundle

    return bundle.looked(Layout(home, "").ca_file)


def advise(home: Path, want: Instance, seconds: float) -> tuple[Watched, Advice]:
    """Watch an instance for as long, and judge which of its applications may move to transaction mode; nothing is changed."""
    from howdah.core.advice import judge
    from howdah.core.files import pooler_settings
    from howdah.host import pgbouncer, watching

    host = local_host(home)
    layout, facts = host.layout(want.id), host.facts()
    settings = pooler_settings(want, facts) if want.pooler is not None else {}
    place = watching.Place(
        seat=host.seat(want),
        poolers=pgbouncer.directories(layout.pool) if want.pooler is not None else (),
        pool_mode=settings.get("pool_mode"),
        carries=facts.pooler_version >= (1, 22) and settings.get("max_prepared_statements", "0") != "0",
        pooler_version=facts.pooler_version,
        logs=layout.log,
    )
    watched = watching.watch(place, seconds)
    return watched, judge(watched)


def pooled_sessions(home: Path, want: Instance) -> tuple[tuple[Session, str], ...]:
    """Return who is with the pooler, and how it sees each encrypted ('' where it does not); for its own system user, and root."""
    from howdah.host import generations

    return generations.sessions(local_host(home).layout(want.id))


def older(home: Path, want: Instance) -> tuple[Older, ...]:
    """Tell which servers of an instance are older than their program on disk; nobody is logged in to."""
    from howdah.core.layout import Layout
    from howdah.host import aging

    return aging.older(Layout(home, want.id), want)


def room(home: Path, want: Instance) -> Room:
    """Tell how much room an instance takes on disk, and how much is left there."""
    from howdah.core.layout import Layout
    from howdah.host import room as rooms

    return rooms.room(Layout(home, want.id))


def programs(home: Path, want: Instance) -> tuple[Used, ...]:
    """Tell which programs an instance runs on, or would, and with which OpenSSL; nobody is logged in to."""
    from howdah.core.layout import Layout
    from howdah.host.programs import used

    return used(Layout(home, want.id), want)


def make_spare(home: Path, major: int) -> None:
    """Make a spare data directory, where one is wanted."""
    local_host(home).make_spare(major)


def clients() -> tuple[str, ...]:
    """Return the names of all clients that `snippet` knows."""
    from howdah.connect import clients as known

    return known()


def snippet(client: str, target: Target) -> Snippet:
    """Return what a client writes to reach a target."""
    from howdah.connect import snippet as write

    return write(client, target)


def environment(target: Target) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the variables that libpq's programs need for a target, and those that must not be there."""
    from howdah.connect import env

    return env.variables(target), env.leftovers(target)


def environment_names() -> tuple[str, ...]:
    """Return every variable that `environment` may set."""
    from howdah.connect import env

    return env.NAMES


def assignments(wanted: Mapping[str, str], gone: Sequence[str]) -> list[str]:
    """Return lines by which a shell sets and unsets variables."""
    from howdah.connect import env

    return env.lines(wanted, gone)


def psql(want: Instance) -> Path:
    """Return the psql to reach an instance with."""
    from howdah.host import shell

    return shell.psql(want.version)


def become_psql(program: Path, words: Sequence[str], wanted: Mapping[str, str], gone: Sequence[str]) -> NoReturn:
    """Go on as psql, with these variables and without those."""
    from howdah.host import shell

    shell.become(program, words, shell.environment(wanted, gone))


def write_service(home: Path, want: Instance, target: Target) -> dict[str, Any]:
    """Put a target into the caller's service file, and its password, where it is kept, into his passfile."""
    from howdah.connect import _servicefile as texts
    from howdah.core.layout import Layout
    from howdah.host import ownfiles, passfile

    owner, service, passwords = texts.Owner(target.label, want.id), *_own_places(home)
    secret = passfile.password(Layout(home, want.id).passfile, target.user)
    plain = replace(target, passfile=None)
    edits: dict[Path, Edit] = {service: lambda text: texts.with_section(text, owner, plain)}
    if secret is not None:
        edits[passwords] = lambda text: texts.with_password(text, owner, plain, secret)
        edits[passwords](ownfiles.seen(passwords))  # refused before anything is written
    changed = [str(path) for path, edit in edits.items() if ownfiles.change(path, edit, private=path == passwords)]
    kept = str(passwords) if secret is not None else None
    return {"service": target.label, "service_file": str(service), "passfile": kept, "changed": changed}


def remove_service(home: Path, name: str, identity: str | None) -> dict[str, Any]:
    """Take an instance out of the caller's service file and passfile, by its name and, where it is known, its id."""
    from howdah.connect import _servicefile as texts
    from howdah.host import ownfiles

    ours, (service, passwords) = texts.marked_by(name, identity), _own_places(home)
    found = texts.sections(ownfiles.seen(service), ours)
    edits: dict[Path, Edit] = {
        service: lambda text: texts.without_sections(text, ours),
        passwords: lambda text: texts.without_passwords(text, ours),
    }
    concerned = [path for path, edit in edits.items() if edit(before := ownfiles.seen(path)) != before]
    changed = [str(path) for path in concerned if ownfiles.change(path, edits[path], private=path == passwords)]
    return {"services": list(found), "changed": changed}


def follow_password(home: Path, want: Instance, user: str, password: Secret | None) -> Path | None:
    """Change a user's password in the caller's passfile where Howdah wrote it there; return the file where it changed."""
    from howdah.connect import _servicefile as texts
    from howdah.host import ownfiles

    ours, (_, passwords) = texts.marked_by(want.name, want.id), _own_places(home)
    before = ownfiles.seen(passwords)
    if texts.with_new_password(before, ours, user, password) == before:
        return None
    ownfiles.change(passwords, lambda text: texts.with_new_password(text, ours, user, password), private=True)
    return passwords


def _own_places(home: Path) -> tuple[Path, Path]:
    from howdah.host import ownfiles

    return ownfiles.service_file(os.environ), ownfiles.passfile(os.environ, home)


def console_pair(home: Path, host: str) -> tuple[Path, Path]:
    """Return a certificate for the console by Howdah's own authority, and its key; issued anew when a third of its life is left."""
    from howdah.host import console_tls

    return console_tls.pair(home, host)


def with_password(home: Path, want: Instance, target: Target) -> Target:
    """Return the target with the password and the authority's certificate themselves, for a text that shall have them."""
    from howdah.core.layout import Layout
    from howdah.errors import NotFound
    from howdah.host import passfile
    from howdah.phrase import say

    layout = Layout(home, want.id)
    secret = passfile.password(layout.passfile, target.user)
    if secret is None:
        hint = say("howdah users password {name} {user} makes a new one, and keeps it", name=want.name, user=target.user)
        raise NotFound("password_not_kept", say("cannot write the password of {user}: it is not kept here", user=target.user), hint)
    return replace(target, password=secret, ca_pem=layout.ca_file.read_text())


def write_files(directory: Path, found: Snippet) -> list[str]:
    """Write what a client takes into a directory, readable by its owner alone; nothing where one of the files is there already."""
    from howdah.host import ownfiles

    return ownfiles.add(directory, found.files or {found.filename: found.text})


def boot_seen(home: Path) -> BootSeen:
    """Tell whether, and how, the instances of a home are started at boot."""
    from howdah.host import systemd
    from howdah.host.watch import LocalWatch

    place = systemd.here()
    return systemd.seen(place, systemd.boot(home, place, LocalWatch(home).facts().nofile))


def install_boot(home: Path, serve: str | None = None) -> None:
    """Have systemd start what is wanted at boot, stop it in good order at shutdown, and repair daily.

    With `serve`, HOST:PORT, it also keeps the loop running, with the console; where nothing is said of that, it stays as it is.
    """
    from dataclasses import replace

    from howdah.host import systemd
    from howdah.host.watch import LocalWatch

    place = systemd.here()
    boot = systemd.boot(home, place, LocalWatch(home).facts().nofile)
    systemd.install(place, boot if serve is None else replace(boot, serve=serve))


def remove_boot(home: Path) -> bool:
    """Take that away; what runs goes on. False when it was not there."""
    from howdah.host import systemd

    place = systemd.here()
    return systemd.remove(place, systemd.boot(home, place))
