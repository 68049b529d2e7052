"""Care for processes that outlive us: start them detached under their own account, know them again, end them within a time limit.

A process is its pid and its start time together, so a recycled pid is never taken for the old one. That it has ended is read from a
pidfd, never from `kill(pid, 0)`, for which a zombie still lives. Nothing here looks for processes by name, and nothing here knows
what PostgreSQL or PgBouncer are.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import resource
import select
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Failed, Unavailable, Unsupported
from howdah.host.accounts import CLEAN_ENVIRONMENT, Account, current_account
from howdah.phrase import say

POLL_SECONDS = 0.003

_FLOCK = "@hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid

_SPARED = -900  # as in Debian's unit of PostgreSQL; -1000 would spare it for good

_GONE = " (deleted)"
_children: set[int] = set()


@dataclass(frozen=True)
class Process:
    """One process, for good: its pid, and its start in clock ticks since boot (`/proc/PID/stat`, field 22)."""

    pid: int
    started: int


def spawn(
    argv: Sequence[str | Path],
    *,
    account: Account | None = None,
    cwd: Path = Path("/"),
    env: Mapping[str, str] = CLEAN_ENVIRONMENT,
    stdin: Path | int | None = None,
    stdout: Path | int | None = None,
    stderr: Path | int | None = None,
    umask: int = 0o077,
    pass_fds: Collection[int] = (),
) -> Process:
    """Start a detached process and return it: own session, this environment and no other, no descriptor of ours but `pass_fds`.

    A standard stream is a file to append to (it then belongs to `account`), a descriptor, or /dev/null: never ours, or
    `$(howdah …)` would wait for the server to end. `account` other than our own needs root.
    """
    other = _other(account, argv[0])
    with contextlib.ExitStack() as opened:
        streams = [_stream(target, other, opened) for target in (stdin, stdout, stderr)]
        try:
            child = subprocess.Popen(
                [str(part) for part in argv],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                cwd=cwd,
                env=dict(env),
                umask=umask,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
                user=other.uid if other else None,
                group=other.gid if other else None,
                extra_groups=[] if other else None,
            )
        except OSError as error:
            raise Unavailable("cannot_start", say("cannot start {program}: {reason}", program=argv[0], reason=error.strerror)) from error
    # It is meant to outlive us: Popen shall neither warn of that nor reap it. reap() does, as long as we are its parent.
    child.returncode = 0
    _children.add(child.pid)
    try:
        return Process(child.pid, _read_stat(child.pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        # Ended already, and gone at once because whoever started us ignores SIGCHLD: no process has this start time.
        return Process(child.pid, -1)


def _other(account: Account | None, program: str | Path) -> Account | None:
    """Return the account to change to, None where it is our own."""
    who = current_account()
    if account is None or account.uid == who.uid:
        return None
    if who.uid != 0:
        raise Unsupported("account_needs_root", say("cannot start {program} as {name}: only root may", program=program, name=account.name))
    return account


def _stream(target: Path | int | None, owner: Account | None, opened: contextlib.ExitStack) -> int:
    if target is None:
        return subprocess.DEVNULL
    if isinstance(target, int):
        return target
    descriptor = _open_log(target, owner)
    opened.callback(os.close, descriptor)
    return descriptor


def _open_log(path: Path, owner: Account | None) -> int:
    """Open a file to append to. Its directory belongs to another user: no link of his may lead root to a file elsewhere."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
        seen = os.fstat(descriptor)
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        raise Failed("log_not_a_file", say("cannot write {path}: it is not a file of its own", path=path)) from None
    if owner is not None:
        os.fchown(descriptor, owner.uid, owner.gid)
    return descriptor


def identify(pid: int) -> Process | None:
    """Return the process that has this pid now; None when there is none, or only its zombie."""
    try:
        state, started = _read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Process(pid, started)


def _read_stat(pid: int) -> tuple[str, int]:
    # The command in field 2 may hold spaces and brackets: what counts stands behind the last one.
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def alive(process: Process | None) -> bool:
    """Tell whether this very process runs; a zombie does not."""
    return process is not None and identify(process.pid) == process


def halted(pid: int) -> bool:
    """Tell whether a process stands still: stopped by a signal, or held by a tracer. Its sockets still accept, for the kernel does it."""
    try:
        return _read_stat(pid)[0] in "Tt"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cwd(pid: int) -> Path | None:
    """Return the working directory of a process; None when it is gone or not ours to ask."""
    return _link(pid, "cwd")


def exe(pid: int) -> Path | None:
    """Return the program file of a process, also when an update has replaced it; None when it is gone or not ours to ask."""
    return _link(pid, "exe")


def _link(pid: int, name: str) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/{name}").removesuffix(" (deleted)"))  # noqa: PTH115 the suffix is text
    except OSError:
        return None


def replaced(pid: int) -> tuple[str, ...]:
    """Return the names of the program and libraries that a process has in use and that are no longer on disk, as after an update."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    gone = [line.split(maxsplit=5) for line in lines if line.endswith(_GONE)]
    # Shared memory is deleted, too, while it is in use; but nothing in it is executed.
    return tuple(sorted({Path(fields[5].removesuffix(_GONE)).name for fields in gone if "x" in fields[1]}))


def cmdline(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process, empty when it is gone or a zombie."""
    text = _arguments(pid)
    deadline = time.monotonic() + 0.1
    # For an instant in the middle of execve() a living process shows none.
    while not text and identify(pid) is not None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        text = _arguments(pid)
    return tuple(os.fsdecode(part) for part in text.split(b"\0")[:-1])


def _arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def lock_holder(path: Path) -> Process | None:
    """Return who holds a record lock on a file. F_GETLK asks without taking it, so that a look never stands in anybody's way."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    finally:
        os.close(lock)
    return identify(pid) if kind != fcntl.F_UNLCK else None


def in_directory(directory: Path) -> Iterator[Process]:
    """Yield every living process whose working directory this is, as far as we may ask."""
    wanted = os.path.realpath(directory)
    for name in _pids():
        if _stand(name) == wanted and (seen := identify(int(name))) is not None:
            yield seen


def standing() -> Iterator[str]:
    """Yield the working directory of every process, as far as we may ask."""
    return filter(None, map(_stand, _pids()))


def _pids() -> Iterator[str]:
    return filter(str.isdigit, os.listdir("/proc"))  # noqa: PTH208 a few hundred names, twice as fast


def _stand(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")  # noqa: PTH115 four times as fast
    except OSError:
        return ""


def opened(pid: int) -> Iterator[str]:
    """Yield what each file descriptor of a process leads to; nothing when it is gone or not ours to ask."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 thousands of names
            with contextlib.suppress(OSError):  # closed meanwhile
                yield os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115 the text is no path


def reap() -> None:
    """Take the exit codes of children of ours that have ended, so that none lingers as a zombie."""
    for pid in tuple(_children):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid
        if done:
            _children.discard(pid)


@contextlib.contextmanager
def _pidfd(process: Process) -> Iterator[int | None]:
    """Hold a process by descriptor; None when it has ended, so that its pid may already be another's."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if alive(process) else None
    finally:
        os.close(descriptor)


def wait_end(process: Process, seconds: float) -> bool:
    """Wait until it has ended, a zombie included; False when it still runs after `seconds`."""
    with _pidfd(process) as descriptor:
        if descriptor is not None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0.0, seconds) * 1000):
                return False
    reap()
    return True


def wait_gone(process: Process, seconds: float) -> bool:
    """Wait until its pid has left the process table: PostgreSQL refuses to start while a zombie still has the pid of its lock file."""
    return wait_until(lambda: not _listed(process), seconds)


def _listed(process: Process) -> bool:
    reap()
    try:
        return _read_stat(process.pid)[1] == process.started
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(holds: Callable[[], object], seconds: float) -> bool:
    """Ask every few milliseconds until `holds()` is true; False when it is not after `seconds`. For what no descriptor tells."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def send(process: Process, signum: signal.Signals) -> bool:
    """Send a signal to this very process; False when it has ended before."""
    with _pidfd(process) as descriptor:
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, signum)
        except ProcessLookupError:
            return False
        return True


def stop(process: Process, signum: signal.Signals, seconds: float, *, kill_seconds: float = 5) -> bool:
    """Signal it, wait up to `seconds`, then SIGKILL it; False when it had to be killed. It has ended when this returns."""
    if not send(process, signum) or wait_end(process, seconds):
        reap()
        return True
    send(process, signal.SIGKILL)
    if not wait_end(process, kill_seconds):
        raise Failed(
            "cannot_kill", say("cannot end process {pid}: it is there {seconds} s after SIGKILL", pid=process.pid, seconds=kill_seconds)
        )
    return False


def allow_files(wanted: int) -> int:
    """Raise our own hard limit of open files to `wanted` where we may, for children to inherit; return the hard limit then in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        # Refused without CAP_SYS_RESOURCE and above fs.nr_open: the limit found below is then the answer.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return wanted if hard == resource.RLIM_INFINITY else hard


def spare_from_oom(process: Process) -> bool:
    """Have the kernel end almost any other process before this one when memory runs out; False where we may not (CAP_SYS_RESOURCE)."""
    try:
        Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(_SPARED))
    except OSError:
        return False
    return True


def file_limit(pid: int) -> int | None:
    """Return the soft limit of open files of a process; None when it is gone, not ours to ask, or has no limit."""
    # Not by prlimit(): even root may be refused there (no CAP_SYS_RESOURCE in a container), while this file is open to all.
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    soft = next((line.split()[3] for line in lines if line.startswith("Max open files")), "")
    return int(soft) if soft.isdigit() else None


def tail(path: Path, lines: int = 20) -> tuple[str, ...]:
    """Return the last lines of a log, empty when there is none."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
            return tuple(log.read().decode(errors="replace").splitlines()[-lines:])
    except (FileNotFoundError, IsADirectoryError, io.UnsupportedOperation):
        return ()
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ESPIPE, errno.ENXIO):  # a link, a fifo, a socket
            raise
        return ()
