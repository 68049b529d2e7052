# pathlib would cost the keeper 2 MB for as long as it lives:
# ruff: noqa: PTH100, PTH101, PTH110, PTH108, PTH120, PTH123
"""The keeper: it holds a pooler's TCP listening sockets and starts a dead PgBouncer again; it knows nothing else.

One keeper serves one generation, one PgBouncer in one directory, as `keeper.json` there says. It runs as PgBouncer's own user with
the standard library only (`python3 -I -S keeper.py keeper.json`, Python 3.9 or later), from a copy beside its `keeper.json`. It has no
protocol but two signals: SIGUSR1 has it steer the new logins of its addresses as the file `steer` says, SIGTERM ends the care and leaves
PgBouncer running. It never reads a pooler's configuration and never ends a PgBouncer.

That it lives is told by a record lock on `lock`, which also names its pid (`F_GETLK`), dies with it and is not inherited by children;
the file's one line says `holding`, and after a SIGUSR1 the word that `steer` gave it.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, NoReturn

SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h; Python's socket module has no name for it
BPF_RET_K = 0x06
TCP_LISTEN = 10  # tcp_states.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20  # linux/netlink.h, linux/sock_diag.h
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x01, 0x300, 2, 3
YOUNG_SECONDS = 1.0
FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 5.0
LOOK_SECONDS = 2.0  # how often the logs are looked at
OBEYED = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}


class Plan(NamedTuple):
    """What `keeper.json` says; file names are relative to its directory."""

    binary: str
    version: str
    ini: str
    addresses: tuple[tuple[str, int], ...]
    unix_socket: str
    unix_mode: int
    backlog: int
    files: int
    log_most: int = 0  # bytes; 0 where an older Howdah told it nothing of that
    own_log_most: int = 0


def log(text: str) -> None:
    """Write one line to standard error: the caller has pointed it at keeper.log."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{os.getpid()}] {text}\n")
    sys.stderr.flush()


def give_up(text: str) -> NoReturn:
    """End with code 1 and the reason as the last line of the log."""
    log(f"cannot keep: {text}")
    sys.exit(1)


def take_lock(path: str) -> int:
    """Hold the record lock that means "a keeper is alive here"; end when another one holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        give_up("another keeper is alive in this directory")
    return lock


def mark(lock: int, word: str) -> None:
    """Say in the lock file what this keeper does; readers hold no lock, so it is one write over the old word."""
    os.pwrite(lock, f"{word}\n".encode(), 0)
    os.ftruncate(lock, len(word) + 1)


def listening(family: int) -> list[tuple[str, int, int]]:
    """Return address, port and inode of every TCP socket of a family that listens."""
    try:
        return list(asked(family))
    except OSError:  # no such question in this container: the table says it too, in 6 ms for an empty one, and more for each connection
        return list(read(family))


def asked(family: int) -> Iterator[tuple[str, int, int]]:
    """Ask the kernel for listeners only (linux/inet_diag.h, sock_diag(7)): 0.3 ms, however many connections there are."""
    question = struct.pack("=BBHI", family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN) + bytes(48)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(struct.pack("=IHHII", 16 + len(question), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + question)
        while True:
            told, at = kernel.recv(65536), 0
            while at < len(told):
                length, kind = struct.unpack_from("=IH", told, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", told, at + 16)[0], "sock_diag")
                # struct inet_diag_msg after the header's 16 bytes: family, state, timer, retrans, source port at 4, source address at 8
                source = told[at + 24 : at + (28 if family == socket.AF_INET else 40)]
                (port,), (inode,) = struct.unpack_from("!H", told, at + 20), struct.unpack_from("=I", told, at + 84)
                yield socket.inet_ntop(family, source), port, inode
                at += (length + 3) & ~3


def read(family: int) -> Iterator[tuple[str, int, int]]:
    """Read the same from the table in /proc (net/ipv4/tcp_ipv4.c, tcp4_seq_show)."""
    path = "/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp"
    if not os.path.exists(path):
        return  # a kernel without IPv6
    with open(path, encoding="ascii") as table:
        for line in table:
            if " 0A " in line:  # TCP_LISTEN
                _, local, *_, inode = line.split(None, 10)[:10]
                address, _, port = local.partition(":")
                # The kernel prints each 32-bit word of an address as a number in its own byte order.
                words = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
                yield socket.inet_ntop(family, b"".join(words)), int(port, 16), int(inode)


def listeners(family: int, address: str, port: int) -> int:
    """Count the sockets that listen on exactly this address and port: the size of the SO_REUSEPORT group before we join it."""
    wanted = socket.inet_ntop(family, socket.inet_pton(family, address))
    return sum(found[:2] == (wanted, port) for found in listening(family))


def listen(address: str, port: int, backlog: int) -> socket.socket:
    """Return a new listening socket of the address's group; until steered, logins go on to where they went."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        held.bind((address, port))
        before = listeners(family, address, port)
        held.listen(backlog)
    except OSError as error:
        give_up(f"cannot listen on {address} port {port}: {error.strerror}")
    if before == 1:  # it had nobody to be steered away from; in a group of more a program is at work already
        steer(held, struct.pack("=HBBI", BPF_RET_K, 0, 0, 0))
    return held


def steer(held: socket.socket, program: bytes) -> bool:
    """Choose by a program of classic BPF who gets each new connection of the group; False where that is not allowed.

    The program belongs to the group and outlives us. A place that does not exist makes the kernel choose by hash.
    """
    code = array.array("B", program)
    try:
        held.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", len(program) // 8, code.buffer_info()[0]))
    except OSError as error:
        log(f"cannot steer: {error.strerror}")
        return False
    return True


def steer_as_told(held: list[socket.socket]) -> str:
    """Steer each group by its program in the file `steer`; return the word that the file has for that, or for a refusal."""
    try:
        with open("steer", encoding="utf-8") as file:
            told = json.load(file)
        done = [steer(each, bytes.fromhex(told["programs"]["{} {}".format(*each.getsockname()[:2])])) for each in held]
        return str(told["word"] if all(done) else told["otherwise"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        log(f"cannot steer: {error!r}")
        return "holding"


def listen_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """Make the console's socket anew: from 1.25 on PgBouncer removes the file when it exits, even one that it was handed."""
    if os.path.lexists(path):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path)
    os.chmod(path, mode)
    made.listen(backlog)
    return made


def start(plan: Plan, sockets: list[socket.socket]) -> int:
    """Start PgBouncer on the sockets as file descriptors 3 and up (systemd's LISTEN_FDS) and return its pid."""
    # Left behind by kill -9, it reads as "another instance running" as long as anything has that pid.
    if os.path.lexists("pid"):
        os.unlink("pid")
    console = listen_unix(os.path.abspath(plan.unix_socket), plan.unix_mode, plan.backlog)
    pid = os.fork()
    if pid == 0:
        become_pgbouncer(plan, [*sockets, console])
    console.close()
    return pid


def become_pgbouncer(plan: Plan, sockets: list[socket.socket]) -> NoReturn:
    """In the child: put the descriptors in order and the signals back, and execute PgBouncer; 127 when that fails."""
    try:
        # First above the target range, so that no dup2 overwrites a descriptor that is still to be copied.
        high = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD_CLOEXEC, 3 + len(sockets)) for each in sockets]
        for number, descriptor in enumerate(high, start=3):
            os.dup2(descriptor, number, inheritable=True)
        environment = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets))}
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        soft = plan.files if hard == resource.RLIM_INFINITY else min(plan.files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)
        os.execve(plan.binary, [plan.binary, "-q", plan.ini], environment)
    except OSError as error:
        log(f"cannot start {plan.binary}: {error.strerror}")
    finally:
        os._exit(127)


def keep(plan: Plan, lock: int, held: list[socket.socket]) -> NoReturn:
    """Start PgBouncer, and again whenever it ends: at once, or after a growing delay while it dies young."""
    delay = 0.0
    while True:
        began = time.monotonic()
        pid = start(plan, held)
        ended = status = 0
        while not ended:
            signalled = signal.sigtimedwait(OBEYED, LOOK_SECONDS)
            if signalled is not None:
                obey(signalled.si_signo, lock, held)
            log_most, own_log_most = told_bounds(plan)
            bound("log", log_most)
            bound("keeper.log", own_log_most)
            ended, status = os.waitpid(pid, os.WNOHANG)
        lived = time.monotonic() - began
        delay = min(max(delay * 2, FIRST_DELAY_SECONDS), LONGEST_DELAY_SECONDS) if lived < YOUNG_SECONDS else 0.0
        log(f"pgbouncer {pid} ended with {os.waitstatus_to_exitcode(status)} after {lived:.1f} s; starts again in {delay} s")
        rest(delay, lock, held)


def told_bounds(plan: Plan) -> tuple[int, int]:
    """Return what the logs may grow to by `keeper.json` as it lies there now: these two alone may change while a keeper lives."""
    try:
        with open("keeper.json", encoding="utf-8") as file:
            told = json.load(file)
        return int(told["log_most"]), int(told["own_log_most"])
    except (OSError, ValueError, TypeError, KeyError):
        return plan.log_most, plan.own_log_most


def bound(path: str, most: int) -> None:
    """Begin a log of more than `most` bytes anew, its last `most` bytes kept as NAME.1.

    Truncated in place, for whoever writes it appends to it (PgBouncer by fopen "a"), and no signal is needed: a SIGHUP would make
    PgBouncer load whatever configuration lies there. What is written between the copy and the cut is lost: microseconds.
    """
    try:
        with open(path, "r+b") as log:
            size = os.fstat(log.fileno()).st_size
            if most and size > most:
                keep_tail(log, size - most, f"{path}.1")
                log.truncate(0)
    except OSError:
        return  # there is no such log yet, or no file descriptor left: at the next look


def keep_tail(log: BinaryIO, start: int, path: str) -> None:
    """Copy a log from `start` on; on a full disk as far as it goes, for the cut that follows makes room."""
    with contextlib.suppress(OSError), open(path, "wb") as before:
        log.seek(start)
        while piece := log.read(1 << 16):
            before.write(piece)


def rest(seconds: float, lock: int, held: list[socket.socket]) -> None:
    """Wait, and obey signals meanwhile."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        signalled = signal.sigtimedwait(OBEYED, remaining)
        if signalled is not None:
            obey(signalled.si_signo, lock, held)


def obey(signum: int, lock: int, held: list[socket.socket]) -> None:
    """Do what a signal asks; SIGCHLD only wakes."""
    if signum == signal.SIGTERM:
        log("ends; PgBouncer runs on")
        sys.exit(0)
    if signum == signal.SIGUSR1:
        mark(lock, steer_as_told(held))


def main(path: str) -> NoReturn:
    """Keep the generation whose `keeper.json` this is."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked, they wait for sigwait: no handler ever runs in the middle of a start.
    signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)
    os.umask(0o077)
    os.chdir(os.path.dirname(os.path.abspath(path)))
    with open(path, encoding="utf-8") as file:
        plan = Plan(**json.load(file))
    lock = take_lock("lock")
    mark(lock, "holding")
    held = [listen(address, port, plan.backlog) for address, port in plan.addresses]
    keep(plan, lock, held)


if __name__ == "__main__":
    main(sys.argv[1])
