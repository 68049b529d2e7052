"""The life of one PostgreSQL process: find its programs, make its directory, start it, know it again, stop it.

`pg_ctl` is not used: it waits in steps of 100 ms where a start takes 35. Here `postgres` is executed directly, `postmaster.pid` of the pid
that we started is watched, and that a process has ended is read from a pidfd. Nothing here speaks SQL or decides what is due.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.core.host import Refused
from howdah.core.layout import Layout
from howdah.core.observed import Server, ServerState
from howdah.errors import Failed, Lacking, Unavailable
from howdah.host import files, process, serverlog
from howdah.host.accounts import CLEAN_ENVIRONMENT, Account
from howdah.host.process import Process
from howdah.phrase import say

POLL_SECONDS = 0.002
_LAST_WORDS_SECONDS = 2.0
_ROOM_TO_SAY_WHY = 1 << 20  # bytes
# initdb looks through all of /usr/share/zoneinfo for the machine's time zone, unless TZ names one; ours is set in the configuration
_ENVIRONMENT = {**CLEAN_ENVIRONMENT, "TZ": "UTC"}
# The kernel shall end one session for want of memory, not the postmaster, whose end is everybody's (fork_process.c; manual, 19.4.5)
_CHILDREN_EXPENDABLE = {"PG_OOM_ADJUST_FILE": "/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE": "0"}
INITDB = ("-N", "-k", "-U", "postgres", "--auth-local=peer", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8")


@dataclass(frozen=True)
class Seat:
    """Where one PostgreSQL server sits: its paths, programs, port, its account, and the group that may reach its socket."""

    layout: Layout
    bindir: Path
    port: int
    account: Account | None = None  # None: our own
    pooler_gid: int | None = None  # None: the pooler runs as the same user

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self.layout.socket_dir / f".s.PGSQL.{self.port}"


# --- programs -----------------------------------------------------------------------------------------------------------------------


def majors() -> Mapping[int, Path]:
    """Return the directory of server programs for each major version of PostgreSQL on this machine.

    Looked for in HOWDAH_POSTGRES_BINDIRS (directories with colons between them; they win), where Debian and PGDG put them, and beside
    the `initdb` of PATH.
    """
    found: dict[int, Path] = {}
    named = [Path(part) for part in os.environ.get("HOWDAH_POSTGRES_BINDIRS", "").split(":") if part]
    places = [*named, *sorted(Path("/usr/lib/postgresql").glob("*/bin")), *sorted(Path("/usr").glob("pgsql-*/bin"))]
    on_path = shutil.which("initdb")
    if on_path is not None:
        places.append(Path(on_path).resolve().parent)
    for bindir in places:
        if _whole(bindir):
            found.setdefault(_major(bindir), bindir)
    found.pop(0, None)
    return dict(sorted(found.items()))


def bindir_of(major: int) -> Path | None:
    """Return the directory of one major's programs, as `majors` finds it; where Debian's packages have it, without the search."""
    packaged = Path(f"/usr/lib/postgresql/{major}/bin")
    if not os.environ.get("HOWDAH_POSTGRES_BINDIRS") and _whole(packaged):
        return packaged
    return majors().get(major)


def _whole(bindir: Path) -> bool:
    return all(os.access(f"{bindir}/{program}", os.X_OK) for program in ("initdb", "postgres"))


def _major(bindir: Path) -> int:
    # Debian's path says it, and asking a program costs 10 ms; any other path is asked.
    if bindir.parts[:-2] == ("/", "usr", "lib", "postgresql") and bindir.parts[-2].isdigit():
        return int(bindir.parts[-2])
    return int(re.split(r"\D", server_version(bindir))[0] or 0)


@functools.cache
def server_version(bindir: Path) -> str:
    """Return the version of the server programs in `bindir`, such as 15.18; empty when they do not say."""
    try:
        said = subprocess.run([bindir / "postgres", "--version"], env=_ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", said.stdout)
    return found[1] if found else ""


def run_as(
    account: Account | None, argv: Sequence[str | Path], cwd: Path, *, text: str = "", seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end under an account, in a clean environment, and return what it said; it is killed after `seconds`."""
    other = account if account is not None and account.uid != os.geteuid() else None
    try:
        return subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            env=_ENVIRONMENT,
            timeout=seconds,
            umask=0o077,
            start_new_session=True,
            user=other.uid if other else None,
            group=other.gid if other else None,
            extra_groups=[] if other else None,
        )
    except subprocess.TimeoutExpired as error:
        message = say("cannot run {program}: it took more than {seconds} s", program=Path(argv[0]).name, seconds=seconds)
        raise Failed("program_took_too_long", message) from error
    except OSError as error:
        raise Unavailable("cannot_run", say("cannot run {program}: {reason}", program=argv[0], reason=error.strerror)) from error


# --- the directory ------------------------------------------------------------------------------------------------------------------


def data_ready(data: Path) -> bool:
    """Tell whether a data directory is one that a server can start on."""
    return (data / "PG_VERSION").is_file() and (data / "global" / "pg_control").is_file()


def has_run(seat: Seat) -> bool:
    """Tell whether a server was ever started on the data directory: each start writes its command line there (CreateOptsFile)."""
    return (seat.layout.data / "postmaster.opts").exists()


def initialise(seat: Seat) -> None:
    """Make the instance's pg directory with an initialised data directory; a crash leaves nothing in its place."""
    layout = seat.layout
    if data_ready(layout.data):
        return
    refuse_remains(layout.pg)
    new = layout.root / "pg.new"
    files.remove(new)
    files.make_parents(layout.root)
    build(new, seat.bindir, seat.account, seat.pooler_gid)
    sync(new)
    new.rename(layout.pg)
    files.sync_directory(layout.root)


def refuse_remains(pg: Path) -> None:
    """Refuse to make a data directory where one has been: it may lie on a disk that is not mounted."""
    if pg.exists():
        hint = say("put its data back, or delete the instance")
        raise Failed("data_lost", say("cannot make a data directory in {path}: what is left of another one is there", path=pg), hint)


def build(pg: Path, bindir: Path, account: Account | None, pooler_gid: int | None) -> None:
    """Make a whole pg directory at `pg`, initialised, not yet synced to disk; its parent must be there."""
    files.make_directory(pg, 0o711, account)
    fit(pg, account, pooler_gid)
    done = run_as(account, [bindir / "initdb", *INITDB, "-D", pg / "data"], pg)
    if done.returncode != 0:
        lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        said = [line.strip() for line in lines if serverlog.of_machine(line)][:1] or [line for line in lines if line][-3:]
        raise Failed("initdb_failed", say("cannot initialise a data directory: {words}", words="; ".join(said)))
    files.make_directory(pg / "data", 0o700, account)


def fit(pg: Path, account: Account | None, pooler_gid: int | None) -> None:
    """Give a pg directory its inner directories, owners and modes; the pooler's group alone may enter the socket's."""
    files.make_directory(pg, 0o711, account)
    for name in ("data", "log", "tls"):
        files.make_directory(pg / name, 0o700, account)
    # Group execute is enough to reach a socket whose name is known; PgBouncer needs no listing (tried with 1.18 to 1.26).
    shared = pooler_gid is not None
    files.make_directory(pg / "sock", 0o710 if shared else 0o700, account, gid=pooler_gid)


def sync(path: Path) -> None:
    """Bring everything on the file system of `path` to disk: one call in place of one fsync per file."""
    run_as(None, ["sync", "-f", path], Path("/"))


# --- the process --------------------------------------------------------------------------------------------------------------------


def identity(found: Process) -> str:
    """Return a process's identity as text: never true of another one."""
    return f"{found.pid}-{found.started}"


@dataclass(frozen=True)
class _PidFile:
    pid: int
    status: str


def _pid_file(data: Path) -> _PidFile | None:
    """Return what postmaster.pid says; its line 8 is the status (utils/pidfile.h, 10 and later)."""
    text = files.read(data / "postmaster.pid", 4096)
    lines = (text or "").split("\n")
    if not lines[0].strip().isdigit():
        return None
    return _PidFile(int(lines[0]), lines[7].strip() if len(lines) > 7 else "")


def _ours(pid: int, data: Path) -> Process | None:
    """Return the process with that pid if it is a postgres that works in `data`: a pid alone may be another's by now."""
    found = process.identify(pid)
    program = process.exe(pid)
    if found is None or program is None or program.name != "postgres":
        return None
    return found if process.cwd(pid) == Path(os.path.realpath(data)) else None


def postmaster(seat: Seat) -> Process | None:
    """Return the running postmaster of the seat, by its pid file."""
    said = _pid_file(seat.layout.data)
    return _ours(said.pid, seat.layout.data) if said is not None else None


def state(seat: Seat) -> Server:
    """Look at the server without logging in: pid file, process, socket. Takes about a millisecond."""
    said = _pid_file(seat.layout.data)
    found = _ours(said.pid, seat.layout.data) if said is not None else None
    if said is None or found is None:
        return Server("absent")
    return Server(_reach(seat, said, found), found.pid, identity(found))


def _reach(seat: Seat, said: _PidFile, found: Process) -> ServerState:
    if process.halted(found.pid):
        return "unreachable"
    if said.status != "ready":
        return "starting"  # or stopping: both pass by themselves
    return "ready" if _accepts(seat.socket) else "unreachable"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # it is so busy that its queue is full (connect(2)); whoever logs in waits for a place
        except OSError:
            return False
    return True


def start(seat: Seat, seconds: float = 60, *, beside: Callable[[Process], None] = lambda server: None) -> Process:
    """Start the server and return when it is ready, with its process; one that is starting already is waited for.

    What `beside` begins for that process begins while it starts. Raises Refused with the server's words when its configuration stops it,
    Failed when anything else does.
    """
    deadline = time.monotonic() + seconds
    already = _wait_for_other(seat, deadline)
    if already is not None:
        beside(already)
        return already
    _clear_locks(seat)
    log = _start_log(seat)
    files.put(log, "", 0o600, seat.account, durable=False)
    argv = (seat.bindir / "postgres", "-D", seat.layout.data)
    env = {**_ENVIRONMENT, **(_CHILDREN_EXPENDABLE if os.geteuid() == 0 else {})}
    started = process.spawn(argv, account=seat.account, cwd=seat.layout.data, env=env, stdout=log, stderr=log)
    if os.geteuid() == 0:
        process.spare_from_oom(started)
    beside(started)
    _wait_ready(seat, started, deadline, seconds)
    return started


def _start_log(seat: Seat) -> Path:
    return seat.layout.log / "startup.log"


def check_log(seat: Seat) -> None:
    """Refuse while the server still runs what would not let it start again: a directory in the place of the log of its start."""
    if seat.layout.log.exists():
        files.clear(_start_log(seat))


def _wait_for_other(seat: Seat, deadline: float) -> Process | None:
    """Wait until nothing of an earlier server is left; return the running one if it became ready instead."""
    data = seat.layout.data
    while True:
        said = _pid_file(data)
        found = _ours(said.pid, data) if said is not None else None
        if said is not None and found is not None and said.status == "ready":
            return found
        left = [found] if found else _end_orphans(data) if has_run(seat) else []
        if not left:
            return None
        if time.monotonic() > deadline:
            raise Failed("cannot_start", say("cannot start PostgreSQL: process {pid} of an earlier one is still there", pid=left[0].pid))
        process.reap()
        time.sleep(POLL_SECONDS)


def _left(data: Path) -> list[Process]:
    """Return every postgres process that works in `data`; a shell whose user stands there is none."""
    return [found for found in process.in_directory(data) if _ours(found.pid, data)]


def _end_orphans(data: Path) -> list[Process]:
    """Ask what outlived its postmaster to end at once, as that would have done, and return what is there yet."""
    # A busy backend notices only when it next waits, 13's autovacuum launcher after 10 s; while one is attached to the shared memory,
    # a start fails. A postmaster whose pid file was removed is among them: it would end itself within a minute, in the same way.
    left = _left(data)
    for found in left:
        process.send(found, signal.SIGQUIT)
    return left


def _clear_locks(seat: Seat) -> None:
    """Remove what an earlier server left, locks and the name of its log; it was seen that no postgres works in the data directory."""
    # PostgreSQL believes a lock file whose pid is alive under its user, be it a zombie or, after a reboot, any other server's child
    # (miscinit.c, CreateLockFile). Two servers on one directory are still kept apart by the shared memory segment's key.
    for path in (seat.layout.data / "postmaster.pid", Path(f"{seat.socket}.lock"), seat.layout.data / "current_logfiles"):
        files.unlink(path)


def _wait_ready(seat: Seat, started: Process, deadline: float, seconds: float) -> None:
    while True:
        said = _pid_file(seat.layout.data)
        if said is not None and said.pid == started.pid and said.status == "ready":
            return
        if not process.alive(started):
            process.reap()
            _explain(seat)
        if time.monotonic() > deadline:
            message = say(
                "cannot start PostgreSQL: not ready after {seconds} s; its last words: {words}",
                seconds=seconds,
                words=serverlog.words(seat.layout),
            )
            raise Failed("cannot_start", message)
        time.sleep(POLL_SECONDS)


def _explain(seat: Seat) -> None:
    # The collector outlives its postmaster until it has written down what is still in the pipe (syslogger.c): only then is all said
    process.wait_until(lambda: not _left(seat.layout.data), _LAST_WORDS_SECONDS)
    said = serverlog.words(seat.layout)
    free = shutil.disk_usage(seat.layout.data).free
    if said == serverlog.NOTHING and free < _ROOM_TO_SAY_WHY:
        message = say("cannot start PostgreSQL: its disk is full ({free} bytes left), and so it could not even say that", free=free)
        raise Lacking("cannot_start", message, say("make room there, then: howdah repair --all"))
    if serverlog.of_configuration(said):
        raise Refused("refused_by_postgres", say("PostgreSQL refuses this: {words}", words=said), serverlog.cure(said))
    raise Failed("cannot_start", say("cannot start PostgreSQL: {words}", words=said), serverlog.cure(said))


def stop(seat: Seat, seconds: float = 60) -> bool:
    """Stop the server and return when nothing of it runs; False when it had to be made to (no checkpoint: the next start recovers)."""
    found = postmaster(seat)
    clean = found is None or _shut_down(found, seconds)
    if not process.wait_until(lambda: not _end_orphans(seat.layout.data), 10):
        raise Failed("cannot_stop", say("cannot stop PostgreSQL: processes of it are still in {path}", path=seat.layout.data))
    return clean


def _shut_down(found: Process, seconds: float) -> bool:
    process.send(found, signal.SIGINT)
    process.send(found, signal.SIGCONT)  # one that was halted hears nothing else
    if process.wait_end(found, seconds):
        return True
    # Immediate shutdown: the postmaster kills what does not end within 5 s by itself (postmaster.c, SIGKILL_CHILDREN_AFTER_SECS).
    process.stop(found, signal.SIGQUIT, 8)
    return False
