"""Generations of a pooler on this machine: one keeper and one PgBouncer in one directory; started, looked at, commanded, drained, ended.

A planned change that a RELOAD cannot make is a new generation on new sockets of the same SO_REUSEPORT group: start it, take the logins
over (`steering`), drain the old one, end it; no login is lost. Alive, reachable and right are three facts: the first two are
seen here, the third is compared by `differences`. Nothing here renders or judges a configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from howdah import settings
from howdah.core.logs import shares
from howdah.errors import Conflict, Failed, Refusal, Unavailable, Unsupported
from howdah.host import files, process
from howdah.host import keeper as keeping
from howdah.host.accounts import Account
from howdah.host.addresses import socket_path
from howdah.host.console import ANSWER_SECONDS, Console, Row, console
from howdah.host.installed import Binary, interpreter, version_in
from howdah.host.keeper import Plan
from howdah.host.process import Process
from howdah.phrase import Phrase, say

SIGQUIT_SINCE = (1, 23)
STATE_SINCE = (1, 19)
COMPLAINT = re.compile(r".*? \[(?P<pid>\d+)\] (?:ERROR|FATAL) (?P<words>.*)")
ATTEMPT_SECONDS = 2.0  # one that ends at its start leaves whoever waits in the queue of its socket without an answer
NOT_RUNNING = say("it is not running")


@dataclass(frozen=True)
class Running:
    """What of a generation is alive; told by its lock and pid file alone, in less than a millisecond."""

    keeper: Process | None
    member: Process | None


@dataclass(frozen=True)
class DatabaseState:
    """One line of SHOW DATABASES."""

    name: str
    paused: bool
    disabled: bool
    host: str = ""  # empty for the console
    port: int = 0


@dataclass(frozen=True)
class GenerationSeen:
    """A generation as it is: alive (`keeper`, `member`), reachable (`silence` is None), and what the console says, by which core judges."""

    directory: Path
    plan: Plan | None
    keeper: Process | None
    member: Process | None
    steering: bool  # new logins of the whole SO_REUSEPORT group were sent here
    taken: bool  # they were to be, which is asked for when all else is proven; the kernel may not let us steer
    silence: Phrase | None = NOT_RUNNING
    version: tuple[int, ...] = ()
    config: Mapping[str, tuple[str, bool]] = field(default_factory=dict)  # value, and whether RELOAD can change it
    paused: bool = False  # the whole pooler
    databases: tuple[DatabaseState, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)  # SHOW LISTS: used_clients (this look is one), login_clients, used_servers …
    open_files: int | None = None  # file descriptors that the process may open

    @property
    def reachable(self) -> bool:
        """Its console answered within the time limit."""
        return self.silence is None

    @property
    def digest(self) -> str:
        """The digest that the loaded file carries in its last line; empty when that line was not reached."""
        return digest_in(self.config.get("ignore_startup_parameters", ("", True))[0])

    @property
    def halted(self) -> tuple[str, ...]:
        """Databases that are paused or disabled."""
        return tuple(each.name for each in self.databases if each.paused or each.disabled)


def digest_in(parameters: str) -> str:
    """Return D of the last `howdah.D` in a list of startup parameters to ignore, the harmless place where a file carries its digest.

    >>> digest_in("extra_float_digits,options, howdah.3f2a")
    '3f2a'
    >>> digest_in("extra_float_digits")
    ''
    """
    found = [each.strip().removeprefix("howdah.") for each in parameters.split(",") if each.strip().startswith("howdah.")]
    return found[-1] if found else ""


def differences(config: Mapping[str, tuple[str, bool]], wanted: Mapping[str, str]) -> Mapping[str, str | None]:
    """Return the wanted settings that SHOW CONFIG shows otherwise, with the value seen (None: this version has no such setting).

    >>> differences({"query_timeout": ("0.50", True), "max_client_conn": ("100", True)}, {"query_timeout": "0.5", "max_client_conn": "200"})
    {'max_client_conn': '100'}
    >>> differences({"query_timeout": ("1.23457e+06", True)}, {"query_timeout": "1234567"})
    {}
    """
    seen = {name: config[name][0] if name in config else None for name in wanted}
    return {name: value for name, value in seen.items() if value is None or not _same(value, wanted[name])}


def _same(seen: str, wanted: str) -> bool:
    try:
        # it prints a time by %g: six digits
        return float(seen) == float(wanted) or f"{float(wanted):g}" == seen
    except ValueError:
        return seen == wanted


def make_plan(program: Binary, addresses: tuple[tuple[str, int], ...], *, unix_port: int, open_files: int, backlog: int = 4096) -> Plan:
    """Return what a keeper is told: the PgBouncer, the (address, port) pairs to listen on, the console's port, its open files."""
    if not program.systemd:
        raise Unsupported(
            "pgbouncer_without_systemd",
            say("cannot use {path}: it was built without systemd support, so it cannot take over sockets", path=program.path),
            say("use the distribution's package, or build it with --with-systemd"),
        )
    text = ".".join(str(part) for part in program.version)
    socket = f".s.PGSQL.{unix_port}"
    return _within(Plan(str(program.path), text, "pgbouncer.ini", addresses, socket, 0o600, backlog, open_files))


def read_plan(directory: Path) -> Plan | None:
    """Return what the keeper of this generation was told; None where it was told nothing readable."""
    try:
        told = json.loads(files.read(directory / "keeper.json") or "")
        return Plan(**{**told, "addresses": tuple((address, port) for address, port in told["addresses"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def bounded(plan: Plan | None) -> bool:
    """Tell whether a keeper was told today's limits of the logs; true, too, where nothing readable lies there."""
    return plan is None or plan == _within(plan)


def _within(plan: Plan) -> Plan:
    room = shares(settings.log_bytes())
    return plan._replace(log_most=room.pooler, own_log_most=room.keeper)


def bound(directory: Path, account: Account | None) -> None:
    """Tell a living keeper today's limits; it reads them when it next looks at the logs."""
    if (plan := read_plan(directory)) is not None and not bounded(plan):
        files.put(directory / "keeper.json", json.dumps(_within(plan)._asdict()), account=account)


def start_generation(directory: Path, plan: Plan, *, account: Account | None = None, seconds: float = 30) -> GenerationSeen:
    """Start a generation and return when its console answers; `pgbouncer.ini` and what it names lie in `directory` already.

    Its sockets join those of an older generation, which goes on to get all logins until `take_over`. When it does not answer within
    `seconds` all of it is ended again, and `Failed` brings the last line of the log. Starting what runs as planned is no error.
    """
    begin_generation(directory, plan, account=account)
    await_generation(directory, seconds=seconds)
    return look(directory)


def begin_generation(directory: Path, plan: Plan, *, account: Account | None = None) -> None:
    """Start a generation's keeper, if none is alive, and do not wait: `await_generation` does."""
    socket_path(directory, _console_port(plan))
    if quick_look(directory).keeper is None:
        if members(directory):
            raise Conflict(
                "generation_orphaned",
                say("cannot start a keeper in {directory}: a PgBouncer lives there without one", directory=directory),
                say("start a new generation beside it"),
            )
        _tell(directory, plan, account)
        _spawn_keeper(directory, plan, account)
    elif read_plan(directory) != plan:
        raise Conflict("generation_differs", say("cannot start {directory}: a keeper with another plan lives there", directory=directory))


def await_generation(directory: Path, *, seconds: float = 30) -> None:
    """Return when the console of a generation that was begun answers; when it does not, all of it is ended, and `Failed` tells why."""
    plan = read_plan(directory)
    reason = _await_console(directory, socket_path(directory, _console_port(plan)), seconds) if plan else "nothing tells what to start"
    if reason:
        stop_generation(directory)
        raise Failed("pooler_not_started", say("cannot start the pooler: {reason}", reason=reason), say("see {log}", log=directory / "log"))


def begun(directory: Path, plan: Plan) -> bool:
    """Tell whether a keeper with just this plan is at work here, also one that is too young to hold its lock."""
    return read_plan(directory) == plan and any(_is_keeper(each, directory) for each in process.in_directory(directory))


def _console_port(plan: Plan) -> int:
    return int(plan.unix_socket.rpartition(".")[2])


def _tell(directory: Path, plan: Plan, owner: Account | None) -> None:
    """Write what the keeper is told, and a copy of the keeper where its user can read it: our own code may lie in /root."""
    files.put(directory / "keeper.json", json.dumps(plan._asdict()), account=owner, durable=False)  # a generation ends with its machine
    files.scratch(directory / "keeper.py", Path(keeping.__file__).read_bytes(), owner)
    files.scratch(directory / "keeper.log", b"", owner)


def _spawn_keeper(directory: Path, plan: Plan, account: Account | None) -> Process:
    process.allow_files(plan.files)
    # By absolute paths: its command line is how a keeper whose lock file was removed is still known.
    command: list[str | Path] = [interpreter(account), "-I", "-S", directory / "keeper.py", directory / "keeper.json"]
    return process.spawn(command, account=account, cwd=directory, stderr=directory / "keeper.log")


def _await_console(directory: Path, path: Path, seconds: float) -> str | None:
    """Wait until the console answers; else return the reason: the keeper's, PgBouncer's, or the time limit."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if path.exists():
            with contextlib.suppress(Unavailable), enter(directory, seconds=min(left, ATTEMPT_SECONDS)):
                return None
        told = process.tail(directory / "keeper.log")
        if any("ended with" in line or "cannot" in line for line in told):
            return _last_words(directory)
        time.sleep(process.POLL_SECONDS)
    return f"no answer within {seconds} s; {_last_words(directory)}"


def _last_words(directory: Path) -> str:
    """Return the line by which the logs explain an end: the first complaint of the last PgBouncer, else the last line of the keeper."""
    told = process.tail(directory / "keeper.log")
    found = [each for line in (*told, *process.tail(directory / "log")) if (each := COMPLAINT.match(line))]
    if found:
        return next(each["words"] for each in found if each["pid"] == found[-1]["pid"])
    return told[-1].partition("] ")[2] if told else "it left no log"


def word(directory: Path) -> str:
    """Return what a generation's keeper says of itself: `holding`, or how it was last told to steer."""
    return (files.read(directory / "lock", 64) or "").strip()


def steering(directory: Path) -> bool:
    """Tell whether new logins of the whole group were sent here."""
    return word(directory).startswith("steering")


def taken(directory: Path) -> bool:
    """Tell whether they were to be; the kernel may not let us."""
    return word(directory).startswith(("steering", "unsteered"))


def numbers(pool: Path) -> list[int]:
    """Return the numbers of the generations that have a directory in an instance's pool, oldest first."""
    try:
        names = os.listdir(pool)  # noqa: PTH208 names, not paths
    except OSError:
        return []
    return sorted(int(name[1:]) for name in names if name[:1] == "g" and name[1:].isdigit())


def lanes(pool: Path, number: int) -> list[Path]:
    """Return the directories of a generation's processes, the first one whether it is there or not."""
    first = f"g{number}"
    try:
        names = {name for name in os.listdir(pool) if name.startswith(f"{first}.")}  # noqa: PTH208 names, not paths
    except OSError:
        names = set()
    further = sorted(int(name.rpartition(".")[2]) for name in names if name.rpartition(".")[2].isdigit())
    return [pool / first, *(pool / f"{first}.{lane}" for lane in further)]


def directories(pool: Path) -> list[Path]:
    """Return the directories of every process of every generation, the oldest first."""
    return [directory for number in numbers(pool) for directory in lanes(pool, number)]


def quick_look(directory: Path) -> Running:
    """See what is alive by the keeper's lock and PgBouncer's pid file; asks nobody. Without that file the keeper's charge is looked for."""
    keeper, member = _keeper(directory), _member(directory)
    if keeper is not None and member is None:
        member = next(iter(members(directory)), None)
    return Running(keeper, member)


def _keeper(directory: Path) -> Process | None:
    """Return who holds the keeper's lock."""
    return process.lock_holder(directory / "lock")


def _member(directory: Path) -> Process | None:
    """Return the PgBouncer of the pid file, if it is one and works in this directory: a pid alone proves nothing."""
    written = (files.read(directory / "pid", 64) or "").strip()
    found = process.identify(int(written)) if written.isdigit() else None
    return found if found and _is_member(found, directory) else None


def _is_member(found: Process, directory: Path) -> bool:
    program = process.exe(found.pid)
    return program is not None and program.name.startswith("pgbouncer") and str(process.cwd(found.pid)) == os.path.realpath(directory)


def members(directory: Path) -> tuple[Process, ...]:
    """Return every PgBouncer that works in this directory, also without a pid file; a few milliseconds."""
    return tuple(each for each in process.in_directory(directory) if _is_member(each, directory))


def look(directory: Path, *, seconds: float = ANSWER_SECONDS) -> GenerationSeen:
    """See a generation as it is: what is alive, and what its console says within `seconds`."""
    alive = quick_look(directory)
    member = alive.member or next(iter(members(directory)), None)
    seen = GenerationSeen(directory, read_plan(directory), alive.keeper, member, steering(directory), taken(directory))
    if member is None or seen.plan is None:
        return seen
    if process.halted(member.pid):
        return dataclasses.replace(seen, silence=say("it is halted (SIGSTOP)"))
    try:
        with enter(directory, seconds=seconds) as asked:
            number = version_in((asked.ask("SHOW VERSION") or [{}])[0].get("version") or "")
            return dataclasses.replace(
                seen, silence=None, version=number, open_files=process.file_limit(member.pid), **_state(asked, number)
            )
    except Refusal as refusal:
        return dataclasses.replace(seen, silence=refusal.message)


class _State(TypedDict):
    config: Mapping[str, tuple[str, bool]]
    databases: tuple[DatabaseState, ...]
    counts: Mapping[str, int]
    paused: bool


def _state(asked: Console, number: tuple[int, ...]) -> _State:
    databases = asked.ask("SHOW DATABASES")
    return {
        "config": show_config(asked),
        "databases": tuple(map(_database, databases)),
        "counts": {row["list"] or "": int(row["items"] or 0) for row in asked.ask("SHOW LISTS")},
        "paused": _paused(asked, number),
    }


def _database(row: Row) -> DatabaseState:
    return DatabaseState(row["name"] or "", row["paused"] == "1", row["disabled"] == "1", row["host"] or "", int(row["port"] or 0))


def _paused(asked: Console, number: tuple[int, ...]) -> bool:
    if number >= STATE_SINCE:
        return {"key": "paused", "value": "yes"} in asked.ask("SHOW STATE")
    try:
        # Before SHOW STATE nothing says so but this: a KILL that names no database is refused either way, for being paused first
        # (admin.c, admin_cmd_kill; tried with 1.18). Later versions would end every client.
        asked.ask("KILL")
    except Failed as refused:
        return "paused" in str(refused.message)
    return False


def show_config(asked: Console) -> Mapping[str, tuple[str, bool]]:
    """Return every setting's loaded value, and whether a RELOAD can change it."""
    return {row["key"] or "": (row["value"] or "", row["changeable"] == "yes") for row in asked.ask("SHOW CONFIG")}


@contextlib.contextmanager
def enter(directory: Path, *, seconds: float = ANSWER_SECONDS) -> Iterator[Console]:
    """Enter the console of the generation in this directory, under the uid that the directory belongs to."""
    plan = read_plan(directory)
    if plan is None:
        raise Unavailable("no_generation", say("cannot reach the pooler in {directory}: no generation is there", directory=directory))
    with console(socket_path(directory, _console_port(plan)), uid=directory.stat().st_uid, seconds=seconds) as asked:
        yield asked


def stop_generation(directory: Path, *, seconds: float = 3) -> bool:
    """End a generation, the keeper before its PgBouncer; False when something had to be killed after `seconds`. Nothing is left running.

    Clients still connected are cut: `drain` first. Found by working directory, so that neither a lost pid file nor a PgBouncer
    that the keeper has only just started escapes.
    """
    plan = read_plan(directory)
    number = version_in(f"PgBouncer {plan.version}") if plan else ()
    clean = True
    while found := [each for each in process.in_directory(directory) if _is_keeper(each, directory) or _is_member(each, directory)]:
        keepers = [each for each in found if _is_keeper(each, directory)]
        for each in keepers or found:
            process.send(each, signal.SIGCONT)  # one that was stopped would hear nothing else
            clean &= process.stop(each, signal.SIGTERM if keepers else end_signal(number), seconds)
    if not directory.is_dir():
        return clean
    for left in (*directory.glob(".s.PGSQL.*"), directory / "pid", directory / "lock"):
        files.unlink(left)
    return clean


def _is_keeper(found: Process, directory: Path) -> bool:
    return os.path.realpath(directory / "keeper.json") in map(os.path.realpath, process.cmdline(found.pid))


def end_signal(number: tuple[int, ...]) -> signal.Signals:
    """Return the signal that ends this version at once: before 1.23 SIGQUIT dumps core, since then SIGTERM waits for clients to leave."""
    return signal.SIGQUIT if number >= SIGQUIT_SINCE else signal.SIGTERM
