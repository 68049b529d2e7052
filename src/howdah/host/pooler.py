"""The pooler's steps on this machine: try, start, change, reload, retire a generation; and see the row of generations as it is.

What a generation is and how it is driven lies in `pgbouncer`, `admin` and `trial`; here they meet the wanted files and the proof over the
wire. Nothing here decides whether a step is due.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah import wire
from howdah.core import files as texts
from howdah.core.host import Later, Leaving, Refused, WantedFile
from howdah.core.instance import PROBE_ROLE, Instance
from howdah.core.lanes import Lane
from howdah.core.layout import Layout
from howdah.core.observed import FileSeen, Generation, Session
from howdah.errors import Failed, Lacking, Refusal
from howdah.host import addresses, admin, disk, files, installed, outside, pgbouncer, process, steering, trial, vacancy
from howdah.host.accounts import Account
from howdah.host.installed import Binary
from howdah.host.keeper import Plan
from howdah.phrase import Phrase, say

# how long a new generation's start waits for the clients of the older one that are about to leave anyway
_LEAVING_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_CLOSING_SECONDS = 1.0
_BETWEEN_TRIES = 0.05


@dataclass(frozen=True)
class PoolSeat:
    """Where one instance's pooler sits: its paths, its user, its console's port, and how many files one process may open."""

    layout: Layout
    account: Account | None
    owner: str
    port: int
    open_files: int

    @property
    def binary(self) -> Binary:
        """The PgBouncer that is installed here."""
        path = installed.find_binary()
        if path is None:
            raise Failed("no_pgbouncer", say("cannot find PgBouncer on this machine"), say("sudo apt-get install pgbouncer"))
        return installed.binary(path)


def living(layout: Layout) -> set[int]:
    """Return the numbers of the generations that have a process, also where the directory was removed."""
    start = os.path.realpath(layout.pool) + "/g"
    places = {place[len(start) :].partition(".")[0] for place in process.standing() if place.startswith(start)}
    return {int(number) for number in places if number.isdigit()}


def present(layout: Layout) -> list[int]:
    """Return the numbers of the generations that have a directory or a process: one whose directory was removed still serves."""
    return sorted({*pgbouncer.numbers(layout.pool), *living(layout)})


def generations(layout: Layout) -> tuple[Generation, ...]:
    """Look at every generation."""
    return tuple(_generation(layout, number) for number in present(layout))


def _generation(layout: Layout, number: int) -> Generation:
    directories = pgbouncer.lanes(layout.pool, number)
    seen = [pgbouncer.look(each) for each in directories]
    first, members = seen[0], [each.member for each in seen if each.member is not None]
    clients = [client for each in seen if each.reachable for client in _sessions(each.directory)]
    config, *further = ({name: value for name, (value, _) in each.config.items()} for each in seen)
    return Generation(
        number=number,
        keeper=all(each.keeper is not None for each in seen),
        proven=first.steering or (first.taken and not numbers_before(layout, number)),
        steered=(present(layout) == [number] and not further) or steering.holds(directories[0]),
        alive=len(members) == len(seen),
        reachable=all(each.reachable for each in seen),
        identity=",".join(f"{each.pid}-{each.started}" for each in members),
        version=min(each.version for each in seen),
        files=_files(layout, directories),
        config=config,
        further=tuple(further),
        fixed=frozenset(name for name, (_, changeable) in first.config.items() if not changeable),
        routes=frozenset((each.host, each.port) for lane in seen for each in lane.databases if each.host),
        loaded=" ".join(each.digest for each in seen),
        replaced=tuple(sorted({name for each in members for name in process.replaced(each.pid)})),
        addresses=first.plan.addresses if first.plan else (),
        bounded=all(pgbouncer.bounded(each.plan) for each in seen),
        halted=tuple(dict.fromkeys(name for each in seen for name in (*each.halted, *(("*",) if each.paused else ())))),
        clients=tuple(session for session, _ in clients),
        plaintext=tuple(session for session, tls in clients if not tls and session.address != "unix"),
    )


def numbers_before(layout: Layout, number: int) -> list[int]:
    """Return the generations older than this one."""
    return [each for each in present(layout) if each < number] if number > 1 else []


def _files(layout: Layout, directories: Sequence[Path]) -> Mapping[str, FileSeen]:
    paths = {Lane(0, each, 0).file: directory / "pgbouncer.ini" for each, directory in enumerate(directories, 1)}
    paths |= {path.name: path for path in layout.pool.glob("hba.*")}
    return {name: found for name, path in paths.items() if (found := disk.seen_file(path)) is not None}


def sessions(layout: Layout) -> tuple[tuple[Session, str], ...]:
    """Return every client's session, each beside the protocol and cipher by which its pooler sees it encrypted, '' for one in clear."""
    return tuple(found for directory in pgbouncer.directories(layout.pool) for found in _asked(directory))


def _sessions(directory: Path) -> list[tuple[Session, str]]:
    try:
        return _asked(directory)
    except Refusal:
        return []  # it went silent between two looks: the next pass sees that


def _asked(directory: Path) -> list[tuple[Session, str]]:
    found = admin.clients(directory)
    # "(nouser)" is a connection that has not said who it is (objects.c): no session yet, and perhaps on its way to TLS
    return [(_session(each), each.tls) for each in found if each.user not in (PROBE_ROLE, "(nouser)")]


def _session(client: admin.Client) -> Session:
    identity = client.id or str(client.port)
    application = client.application_name.removesuffix(f" - {client.address}:{client.port}")  # application_name_add_host
    return Session("pooled", client.user, client.database, application, client.address, identity, client.since)


def prepare(seat: PoolSeat) -> None:
    """Make the pooler's own directory, with the empty file of users: users come by lookup only."""
    files.make_directory(seat.layout.pool, 0o700, seat.account)
    users = seat.layout.pool / "users.txt"
    if files.read(users) != "":
        files.put(users, "", 0o600, seat.account, durable=False)


def attempt(seat: PoolSeat, wanted: Sequence[WantedFile], probe: trial.Probe) -> None:
    """Try files beside the live ones; raise Refused with the reason when PgBouncer or the probe is not content."""
    _put_companions(seat, wanted)
    verdict = trial.try_files(
        seat.binary,
        seat.layout.trial,
        {"pgbouncer.ini": texts.inis(wanted)[0].text},  # the others differ from it in numbers alone, and are proven where they serve
        unix_port=seat.port,
        wanted=texts.wanted_config(wanted),
        account=seat.account,
        probe=probe,
    )
    if verdict.reason is not None:
        raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=verdict.reason))


def _put_companions(seat: PoolSeat, wanted: Sequence[WantedFile]) -> None:
    """Put what pgbouncer.ini names in place, each under a name of its own content: nothing that serves reads it yet."""
    prepare(seat)
    for file in wanted:
        if not file.name.endswith(".ini"):
            files.put(seat.layout.pool / file.name, file.text, file.mode, seat.account, durable=False)


def start(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
    """Start a generation whose files were tried, and send new logins to it."""
    _begin(seat, want, number, wanted)
    for lane in _lanes(seat, number, wanted):
        pgbouncer.await_generation(lane.directory)
        if (fault := _misread(lane)) is not None:
            retire(seat, number, "now")
            raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=fault))
    steer(seat.layout, number)
    for each in numbers_before(seat.layout, number)[-1:]:
        _let_leave(pgbouncer.lanes(seat.layout.pool, each))


def steer(layout: Layout, number: int) -> None:
    """Send new logins to a generation, by turns to its processes."""
    steering.steer(pgbouncer.lanes(layout.pool, number))


@dataclass(frozen=True)
class _Lane:
    """One process of a generation: where it sits, the file it is to have, and what it must show once that is loaded."""

    directory: Path
    ini: str
    digest: str
    config: Mapping[str, str]


def _lanes(seat: PoolSeat, number: int, wanted: Sequence[WantedFile]) -> list[_Lane]:
    every = zip(texts.inis(wanted), texts.pooler_digest(wanted).split(), texts.wanted_configs(wanted), strict=True)
    return [_Lane(seat.layout.lane(number, each), ini.text, digest, config) for each, (ini, digest, config) in enumerate(every, 1)]


def _begin(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
    """Begin a generation, and do not wait for it; what an earlier attempt left in its directory is ended first."""
    for left in pgbouncer.lanes(seat.layout.pool, number):
        pgbouncer.stop_generation(left)
    _check_port(seat, want)
    for lane in _lanes(seat, number, wanted):
        files.make_directory(lane.directory, 0o700, seat.account)
        files.put(lane.directory / "pgbouncer.ini", lane.ini, 0o600, seat.account, durable=False)
        pgbouncer.begin_generation(lane.directory, _plan(seat, want), account=seat.account)


def _plan(seat: PoolSeat, want: Instance) -> Plan:
    listen = tuple((address, seat.port) for address in want.pooled.listen)
    backlog = int((want.pooler or {}).get("listen_backlog", "4096"))
    return pgbouncer.make_plan(seat.binary, listen, unix_port=seat.port, open_files=seat.open_files, backlog=backlog)


def begin_first(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
    """Begin a generation where there is none, for `start_first` to await and prove: it starts while others do."""
    _put_companions(seat, wanted)
    _begin(seat, want, number, wanted)


def start_first(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile], login: trial.Probe) -> None:
    """Start a generation where none was proven, and prove it as a trial would; one that fails is ended, and Refused tells the reason.

    It takes the logins over last, and by that the next pass knows whether it was proven, should we die before.
    """
    lanes = _lanes(seat, number, wanted)
    try:
        if not all(_begun(seat, want, lane) for lane in lanes):
            begin_first(seat, want, number, wanted)
        for lane in lanes:
            pgbouncer.await_generation(lane.directory)
        # Its own words first, before ours on the wire make it say more
        fault = next((found for lane in lanes if (found := trial.complaint(process.tail(lane.directory / "log", 50)))), None)
        fault = fault or next((found for lane in lanes if (found := _misread(lane))), None)
        fault = fault or wire_differs(want, want.pooled.listen[0], seat.port)
        fault = fault or login(wire.dial(want.pooled.listen[0]), seat.port)
    except (Refused, Lacking):
        raise  # its port is another's; or there is no room, which is not PgBouncer's verdict
    except Failed as failed:
        fault = failed.message
    if fault is not None:
        retire(seat, number, "now")
        attempt(seat, wanted, login)  # it hears what PgBouncer says before it opens its log
        raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=fault))
    steer(seat.layout, number)


def _begun(seat: PoolSeat, want: Instance, lane: _Lane) -> bool:
    return files.read(lane.directory / "pgbouncer.ini") == lane.ini and pgbouncer.begun(lane.directory, _plan(seat, want))


def _check_port(seat: PoolSeat, want: Instance) -> None:
    """Refuse a port that is another's: SO_REUSEPORT lets any two processes of one user share it, also those of two homes."""
    holder = addresses.port_holder(want.pooled.listen, seat.port)
    if holder is not None and not living(seat.layout):  # else it is ours already
        hint = say("choose other addresses or another port, or end that process")
        raise Refused("port_lost", say("cannot use port {port}: {holder} has it", port=seat.port, holder=holder), hint)


def bound_logs(seat: PoolSeat) -> None:
    """Keep every generation's logs within today's limits."""
    for directory in pgbouncer.directories(seat.layout.pool):
        pgbouncer.bound(directory, seat.account)


def _let_leave(directories: Sequence[Path]) -> None:
    for directory in directories:
        if pgbouncer.look(directory).reachable:  # else that is why it is replaced
            with contextlib.suppress(Refusal):
                admin.drain(directory, seconds=_LEAVING_SECONDS / len(directories))


def change(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
    """Put new files in place, reload and prove them, one process after the other; on a mismatch the old ones return and serve."""
    before: dict[Path, str | None] = {}
    try:
        for lane in _lanes(seat, number, wanted):
            path = lane.directory / "pgbouncer.ini"
            before[path] = files.read(path)
            files.put(path, lane.ini, 0o600, seat.account)
            _reload(seat, want, lane)
    except Refusal as refusal:
        _put_back(seat, before)
        if isinstance(refusal, Lacking):
            raise  # which is not PgBouncer's verdict
        raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=refusal.message)) from refusal
    keep = {file.name for file in wanted}
    for left in seat.layout.pool.glob("hba.*"):
        if left.name not in keep and len(pgbouncer.numbers(seat.layout.pool)) == 1:
            files.unlink(left)


def _put_back(seat: PoolSeat, before: Mapping[Path, str | None]) -> None:
    for path, text in before.items():
        if text is not None:
            files.put(path, text, 0o600, seat.account)
            admin.reload(path.parent)


def reload(seat: PoolSeat, want: Instance, number: int) -> None:
    """Make a generation read the files that lie there; return when it shows their digest, values and the wire, else raise Failed."""
    for directory in pgbouncer.lanes(seat.layout.pool, number):
        text = files.read(directory / "pgbouncer.ini") or ""
        lying = [WantedFile("pgbouncer.ini", text)]
        _reload(seat, want, _Lane(directory, text, texts.pooler_digest(lying), texts.wanted_config(lying)))


def _reload(seat: PoolSeat, want: Instance, lane: _Lane) -> None:
    """Make one process read its file, and prove that it has."""
    admin.reload(lane.directory)
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (reason := _misread(lane) or wire_differs(want, want.pooled.listen[0], seat.port)) is not None:
        if time.monotonic() > deadline:
            raise Failed("pooler_not_loaded", reason)
        time.sleep(0.005)


def _misread(lane: _Lane) -> Phrase | None:
    """Return in what a process differs from its file, or None."""
    seen = pgbouncer.look(lane.directory)
    if seen.digest != lane.digest:
        return say("PgBouncer did not read its file to the end; its last words: {words}", words=_words(lane.directory))
    for name, value in lane.config.items():
        reported, changeable = seen.config.get(name, ("", True))
        if changeable and not texts.config_holds(name, value, reported):
            return say("PgBouncer shows {name} as {reported}, not {value}", name=name, reported=reported, value=value)
    return None


def wire_differs(want: Instance, address: str, port: int) -> Phrase | None:
    """Return what a stranger is told at a pooler's port that the TLS policy forbids, or None."""
    user, database = outside.anyone(want)
    knock = wire.knock(wire.dial(address), port, user=user, database=database)
    if knock.error:
        return None if knock.answers else say("nobody answers on port {port}: {error}", port=port, error=knock.error)
    if want.tls and not knock.plaintext_refused:
        return say("port {port} lets plaintext in", port=port)
    if want.tls and not knock.serial:
        return say("port {port} does not speak TLS: {error}", port=port, error=knock.tls.error)
    return say("port {port} lets users in without a password", port=port) if knock.lax else None


def _words(directory: Path) -> str:
    lines = process.tail(directory / "log", 50)
    told = [line for line in lines if trial.complaint([line]) is not None]
    return (told or lines or ["none"])[-1]


def retire(seat: PoolSeat, number: int, leaving: Leaving) -> int:
    """End a generation and take its directories away; return how many clients were connected then. `Later` where one came in instead."""
    directories, left = pgbouncer.lanes(seat.layout.pool, number), 0
    for directory in _standing(seat.layout, number, directories):
        # One by one: until the newest is steered to again, those that are left of this generation may be given logins
        if leaving != "now":
            _let_leave([directory])
        if leaving == "empty":
            _close_empty(directory)
        else:
            left += len(_sessions(directory))
            _close(directory)
        _steer_again(seat.layout)
    for directory in reversed(directories):  # the first one last: by it the generation is known
        files.remove(directory)
    return left


def _close_empty(directory: Path) -> None:
    """End a generation at a moment when nobody is in it, or raise `Later`: who still logs in at a port that is given up is never cut."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while not _close(directory, empty=True):
        if time.monotonic() > deadline:
            raise Later("pooler_in_use", say("cannot end an older PgBouncer: clients log in there"))
        time.sleep(_BETWEEN_TRIES)


def _standing(layout: Layout, number: int, directories: Sequence[Path]) -> list[Path]:
    """Return the directories of a generation's processes, also those that were removed while a process works there."""
    start = os.path.realpath(layout.generation(number))
    removed = {Path(place) for place in process.standing() if place.startswith(f"{start}.")}
    return [*directories, *sorted({layout.pool / each.name for each in removed} - {*directories})]


def _close(directory: Path, *, empty: bool = False) -> bool:
    """End a generation, and see its sockets leave: a process that has ended may be listening for a moment yet (Linux 6.18).

    False where it was to be ended `empty`, and is not.
    """
    plan, lived = pgbouncer.read_plan(directory), pgbouncer.quick_look(directory).member is not None
    groups = plan.addresses if plan is not None and lived else ()
    before = [steering.members(group) for group in groups]
    if empty and not vacancy.end_empty(directory):
        return False
    pgbouncer.stop_generation(directory)
    process.wait_until(lambda: all(steering.members(group) < then for group, then in zip(groups, before, strict=True)), _CLOSING_SECONDS)
    return True


def _steer_again(layout: Layout) -> None:
    """Have the newest look for its place, which may be another since one has gone; where it cannot, the next pass sees to it."""
    for newest in pgbouncer.numbers(layout.pool)[-1:]:
        directory = layout.generation(newest)
        if pgbouncer.steering(directory) and not steering.holds(directory):
            with contextlib.suppress(Failed):
                steer(layout, newest)


def end_plaintext(seat: PoolSeat) -> int:
    """End every pooled session without TLS, one by one, and return how many; needs PgBouncer 1.24."""
    ended = 0
    for directory in pgbouncer.directories(seat.layout.pool):
        for client in admin.clients(directory):
            if not client.tls and client.address != "unix":
                admin.kill_client(directory, client.id)
                ended += 1
    return ended
