"""The pooler's steps on this machine: try, start, change and reload a generation.

What a generation is and how it is driven lies in `pgbouncer`, `admin` and `trial`; here they meet the wanted files and the proof over the
wire. Nothing here decides whether a step is due.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah import wire
from howdah.core import files as texts
from howdah.core.host import Refused, WantedFile
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.errors import Failed, Lacking, Refusal
from howdah.host import addresses, admin, files, generations, installed, outside, pgbouncer, process, retirement, trial
from howdah.host.accounts import Account
from howdah.host.installed import Binary
from howdah.host.keeper import Plan
from howdah.phrase import Phrase, say

_ANSWER_SECONDS = 5.0
# how long one may take to begin in plaintext who was told to: a round trip; in a storm there is always another, who was told otherwise
_TOLD_SECONDS = 1.0


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
            retirement.retire(seat.layout, number, "now")
            raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=fault))
    generations.steer(seat.layout, number)
    for each in generations.numbers_before(seat.layout, number)[-1:]:
        retirement.let_leave(pgbouncer.lanes(seat.layout.pool, each))


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
        retirement.retire(seat.layout, number, "now")
        attempt(seat, wanted, login)  # it hears what PgBouncer says before it opens its log
        raise Refused("refused_by_pgbouncer", say("PgBouncer refuses this: {reason}", reason=fault))
    generations.steer(seat.layout, number)


def _begun(seat: PoolSeat, want: Instance, lane: _Lane) -> bool:
    return files.read(lane.directory / "pgbouncer.ini") == lane.ini and pgbouncer.begun(lane.directory, _plan(seat, want))


def _check_port(seat: PoolSeat, want: Instance) -> None:
    """Refuse a port that is another's: SO_REUSEPORT lets any two processes of one user share it, also those of two homes."""
    holder = addresses.port_holder(want.pooled.listen, seat.port)
    if holder is not None and not generations.living(seat.layout):  # else it is ours already
        hint = say("choose other addresses or another port, or end that process")
        raise Refused("port_lost", say("cannot use port {port}: {holder} has it", port=seat.port, holder=holder), hint)


def bound_logs(seat: PoolSeat) -> None:
    """Keep every generation's logs within today's limits."""
    for directory in pgbouncer.directories(seat.layout.pool):
        pgbouncer.bound(directory, seat.account)


def change(seat: PoolSeat, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
    """Put new files in place, reload and prove them, one process after the other; on a mismatch the old ones return and serve."""
    before: dict[Path, str | None] = {}
    try:
        for lane in _lanes(seat, number, wanted):
            path = lane.directory / "pgbouncer.ini"
            before[path] = files.read(path)
            _let_in_either_way(seat, lane, before[path] or "")
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


def _let_in_either_way(seat: PoolSeat, lane: _Lane, lying: str) -> None:
    """Before a process requires TLS, have it take both, until whoever it told that there is none has said who he is."""
    between = texts.either_way(lying, lane.ini)
    if between is not None:
        files.put(lane.directory / "pgbouncer.ini", between, 0o600, seat.account)
        admin.reload(lane.directory)
        admin.await_logins(lane.directory, _TOLD_SECONDS)


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
