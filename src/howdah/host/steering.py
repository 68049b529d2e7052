"""Where new logins go among the sockets that share a port: each one's place in the kernel's group is found by knocking, not by counting.

The kernel keeps the sockets of a SO_REUSEPORT group in an array. One that joins goes to its end; one that closes leaves its place to the
last (net/core/sock_reuseport.c, __reuseport_detach_sock). No call tells a socket's place, and what was counted at the start is wrong once
an earlier one has gone. So the program that steers the group first sends one connection of our own to each place, told by its source port,
and everybody else where they went; the places whose knock this generation's PgBouncer opens are its own. Then it sends everybody there.
By that it is proven, too, that logins arrive. Nothing here starts or ends anything, and no login is lost on the way: every place
is one that serves.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from howdah import wire
from howdah.errors import Failed
from howdah.host import files, pgbouncer, process
from howdah.host.accounts import Account
from howdah.host.keeper import BPF_RET_K, NETLINK_SOCK_DIAG, NLM_F_REQUEST, SOCK_DIAG_BY_FAMILY, listening
from howdah.phrase import say

# linux/bpf_common.h, linux/filter.h
LOAD_WORD, LOAD_HALF, JUMP_EQUAL, MODULO = 0x20, 0x28, 0x15, 0x94
NETWORK_HEADER, RANDOM = -0x100000, -0x1000 + 56
TCP_ESTABLISHED = 1
KNOCK_SECONDS = 5.0
# Every address by which this machine reaches itself, as far as any is likely to be free (127.0.0.0/8 is loopback as a whole)
_LOOPBACKS = {"0.0.0.0": tuple(f"127.0.0.{last}" for last in range(1, 17)), "::": ("::1",)}
ANSWER_SECONDS = 20.0

Group = tuple[str, int]
"""Address and port that its sockets share."""


def steer(lanes: Sequence[Path], *, seconds: float = ANSWER_SECONDS) -> bool:
    """Send all new logins to these directories' PgBouncers, by turns; False where the kernel does not let us steer."""
    plan = pgbouncer.read_plan(lanes[0])
    groups = plan.addresses if plan is not None else ()
    joined = {group: members(group) for group in groups}
    # A newcomer's places are the last ones; where that is wrong, it is so for a few milliseconds, and somebody older serves them
    likely = {group: range(len(found))[-len(lanes) :] for group, found in joined.items()}
    already = pgbouncer.steering(lanes[0])
    with _knocks(joined) as knocks:
        ports = {group: {each.getsockname()[1]: place for place, each in enumerate(sent)} for group, sent in knocks.items()}
        programs = {group: program(group, likely[group], ports[group]) for group in groups}
        if not tell(lanes[0], programs, "steering" if already else "knocking", seconds=seconds):
            return False
        own = {group: _opened(group, sent, lanes) if _way(group) else likely[group] for group, sent in knocks.items()}
    if not tell(lanes[0], {group: program(group, places) for group, places in own.items()}, "steering", seconds=seconds):
        return False
    _note(lanes[0], joined)
    return True


def holds(leader: Path) -> bool:
    """Tell whether logins still go where `steer` sent them: nobody whom it found in a group has left it since."""
    if not pgbouncer.steering(leader):
        return pgbouncer.taken(leader)  # where the kernel does not let us, there is nothing to hold
    with contextlib.suppress(ValueError, TypeError):
        noted = json.loads(files.read(leader / "steered") or "")
        return {int(each) for each in noted} <= {inode for family in (socket.AF_INET, socket.AF_INET6) for *_, inode in listening(family)}
    return False


def _note(leader: Path, joined: Mapping[Group, Collection[int]]) -> None:
    inodes = sorted({inode for found in joined.values() for inode in found})
    files.scratch(leader / "steered", json.dumps(inodes).encode(), None)


def members(group: Group) -> frozenset[int]:
    """Return the inodes of the sockets that listen on exactly this address and port."""
    wanted = _canonical(group)
    return frozenset(inode for address, port, inode in listening(_family(group)) if (address, port) == wanted)


def _family(group: Group) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in group[0] else socket.AF_INET


def _canonical(group: Group) -> Group:
    return socket.inet_ntop(_family(group), socket.inet_pton(_family(group), group[0])), group[1]


def program(group: Group, targets: Sequence[int], knocks: Mapping[int, int] | None = None) -> bytes:
    """Return the classic BPF that sends a connection from a port of `knocks` to its place there, and any other to one of `targets`."""
    header = 40 if _family(group) == socket.AF_INET6 else 20  # the source port stands first behind it
    code = [(LOAD_HALF, 0, 0, NETWORK_HEADER + header)] if knocks else []
    for port, place in (knocks or {}).items():
        code += [(JUMP_EQUAL, 0, 1, port), (BPF_RET_K, 0, 0, place)]
    if len(targets) > 1:
        code += [(LOAD_WORD, 0, 0, RANDOM), (MODULO, 0, 0, len(targets))]
    for turn, place in enumerate(targets[:-1]):
        code += [(JUMP_EQUAL, 0, 1, turn), (BPF_RET_K, 0, 0, place)]
    code.append((BPF_RET_K, 0, 0, targets[-1]))
    return b"".join(struct.pack("=HBBI", operation, yes, no, operand & 0xFFFFFFFF) for operation, yes, no, operand in code)


def tell(leader: Path, programs: Mapping[Group, bytes], word: str, *, seconds: float = ANSWER_SECONDS) -> bool:
    """Have this directory's keeper steer each group by its program; False where the kernel refuses it that."""
    token = secrets.token_hex(4)
    told = {"{} {}".format(*_canonical(group)): code.hex() for group, code in programs.items()}
    text = json.dumps({"word": f"{word} {token}", "otherwise": f"unsteered {token}", "programs": told})
    owner = leader.stat()
    files.scratch(leader / "steer", text.encode(), Account("", owner.st_uid, owner.st_gid))
    found = pgbouncer.quick_look(leader).keeper
    if found is None or not process.send(found, signal.SIGUSR1):
        raise Failed("keeper_dead", say("cannot take logins over: no keeper is alive in {directory}", directory=leader))
    if not process.wait_until(lambda: token in pgbouncer.word(leader), seconds):
        raise Failed("keeper_silent", say("cannot take logins over: the keeper does not answer within {seconds} s", seconds=seconds))
    return not pgbouncer.word(leader).startswith("unsteered")


@contextlib.contextmanager
def _knocks(joined: Mapping[Group, Collection[int]]) -> Iterator[dict[Group, list[socket.socket]]]:
    """Hold a socket with a port of its own for each place of each group, not yet connected."""
    with contextlib.ExitStack() as opened:
        made: dict[Group, list[socket.socket]] = {}
        for group, found in joined.items():
            made[group] = [opened.enter_context(socket.socket(_family(group), socket.SOCK_STREAM)) for _ in found]
            for each in made[group]:
                each.bind((wire.dial(group[0]), 0))
        yield made


def _way(group: Group) -> str | None:
    """Return an address by which one comes to this group, and to nobody who listens on a narrower one; None where there is none.

    Who comes to 127.0.0.1 is served by a socket on just that address, as an older generation may have it, before one on 0.0.0.0.
    """
    address, port = _canonical(group)
    if address not in _LOOPBACKS:
        return address
    narrower = {at for at, number, _ in listening(_family(group)) if number == port}
    return next((each for each in _LOOPBACKS[address] if each not in narrower), None)


def _opened(group: Group, knocks: Sequence[socket.socket], lanes: Sequence[Path]) -> list[int]:
    """Knock at every place at once; return those that these directories' PgBouncers opened, or raise `Failed` when one did not."""
    way = _way(group) or wire.dial(group[0])
    for each in knocks:
        each.setblocking(False)
        each.connect_ex((way, group[1]))
    waiting, own, deadline = dict(enumerate(knocks)), dict[Path, int](), time.monotonic() + KNOCK_SECONDS
    silent = set(waiting)
    while len(own) < len(lanes) and time.monotonic() < deadline:
        for place in [*silent]:
            with contextlib.suppress(OSError):  # not connected yet
                waiting[place].send(b"\0")  # PgBouncer is woken by the first byte (tcp_defer_accept), and waits for the rest
                silent.discard(place)
        for place, each in [*waiting.items()]:
            if place not in silent and (inode := _accepted(each)):
                del waiting[place]
                own |= {lane: place for lane in lanes if _has(lane, inode)}
        time.sleep(process.POLL_SECONDS)
    if len(own) < len(lanes):
        address, port = group
        raise Failed("pooler_deaf", say("cannot take logins over: nobody opens at {address} port {port}", address=address, port=port))
    return sorted(own.values())


def _accepted(knock: socket.socket) -> int:
    """Return the inode of the other end of a connection on this machine; 0 as long as nobody has accepted it."""
    try:
        (here, here_port), (there, there_port) = knock.getsockname()[:2], knock.getpeername()[:2]
    except OSError:
        return 0
    try:
        return _asked(knock.family, (there, there_port), (here, here_port))
    except OSError:
        return _read(knock.family, there_port, here_port)


def _asked(family: int, local: Group, remote: Group) -> int:
    """Ask the kernel for one connection by its two ends (linux/inet_diag.h, struct inet_diag_req_v2)."""
    ends = b"".join(socket.inet_pton(family, address).ljust(16, b"\0") for address, _ in (local, remote))
    question = struct.pack("=BBHI", family, socket.IPPROTO_TCP, 0, 1 << TCP_ESTABLISHED)
    question += struct.pack("!HH", local[1], remote[1]) + ends + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(struct.pack("=IHHII", 16 + len(question), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + question)
        told = kernel.recv(65536)
    if struct.unpack_from("=H", told, 4)[0] != SOCK_DIAG_BY_FAMILY:
        raise OSError("sock_diag")
    return int(struct.unpack_from("=I", told, 84)[0])


def _read(family: int, local_port: int, remote_port: int) -> int:
    """Read the same from the table in /proc, by the two ports alone: we hold one of them."""
    for line in Path("/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split(None, 10)
        if (fields[1][-4:], fields[2][-4:]) == (f"{local_port:04X}", f"{remote_port:04X}"):
            return int(fields[9])
    return 0


def _has(lane: Path, inode: int) -> bool:
    """Tell whether this directory's PgBouncer holds the socket of this inode."""
    member = pgbouncer.quick_look(lane).member
    if member is None:
        return False
    return any(each == f"socket:[{inode}]" for each in process.opened(member.pid))
