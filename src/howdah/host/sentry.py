"""Stand watch over the processes and files of many instances: nobody is connected to, and a glance takes a fraction of a millisecond.

What is there is told as one value, to be compared with an earlier one; what it means is for the full look to find out. The end of a process
is heard at once, by its pidfd. Descriptors are kept from one glance to the next, and closed when what they stand for has gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from howdah.core.instance import HOPS, Instance
from howdah.core.layout import Layout
from howdah.host import process

_SERVER_FILES = ("postmaster.pid", "postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf")
_POOLER_FILES = ("pgbouncer.ini", "keeper.json", "pid")
_ASKED = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of 64-bit Linux
_GONE = -1


class _Watched:
    """One process, known by descriptors: a pid that is another's by now is never taken for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.end = os.pidfd_open(pid)
        try:
            self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self.end)
            raise

    def state(self) -> str:
        """Return its state by one letter as proc(5) has it, only what matters here: runs, stands still, or has ended."""
        try:
            letter = os.pread(self._stat, 512, 0).rpartition(b") ")[2][:1]
        except OSError:
            return "gone"
        return "halted" if letter in b"Tt" else "gone" if letter in b"ZX" else "runs"

    def close(self) -> None:
        os.close(self.end)
        os.close(self._stat)


@dataclass
class _Post:
    """What is kept of one instance between two glances."""

    layout: Layout
    processes: dict[int, _Watched] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)  # the pids of this glance
    pid_file: tuple[Hashable, int] = (None, 0)
    locks: dict[str, tuple[int, int]] = field(default_factory=dict)  # path: inode, descriptor

    def close(self) -> None:
        for each in self.processes.values():
            each.close()
        for _, descriptor in self.locks.values():
            os.close(descriptor)


class LocalSentry:
    """Glances at the instances of one home; used by one thread, but for `wake`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._posts: dict[str, _Post] = {}
        self._poll = select.poll()
        self._woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._woken, select.POLLIN)
        self._closing = threading.Lock()

    def glance(self, want: Instance) -> Hashable:
        """Return what is there of an instance now: processes, locks and files. Equal ones mean that nothing is known to have changed."""
        post = self._posts.setdefault(want.id, _Post(Layout(self._home, want.id)))
        root = str(post.layout.root)
        post.met.clear()
        server = self._server(post, f"{root}/pg")
        pooler = tuple(self._generation(post, f"{root}/pool/{name}") for name in _generations(f"{root}/pool"))
        keys = tuple(_stamp(f"{root}/{'pg' if hop == 'direct' else 'pool'}/tls") for hop in HOPS)
        for pid in post.processes.keys() - post.met:
            self._let_go(post, pid)
        return server, pooler, keys

    def _server(self, post: _Post, pg: str) -> Hashable:
        files = tuple(_stamp(f"{pg}/data/{name}") for name in _SERVER_FILES)
        if files[0] != post.pid_file[0]:
            post.pid_file = (files[0], _first_number(f"{pg}/data/postmaster.pid"))
        # A socket is touched by its server every hour (TouchSocketLockFiles): only which one it is counts.
        sockets = tuple(sorted(_names(f"{pg}/sock")))
        sweeper = self._lock(post, f"{pg}/log/sweeper.lock")
        return files, sockets, self._process(post, post.pid_file[1]), self._process(post, sweeper)

    def _generation(self, post: _Post, place: str) -> Hashable:
        files = tuple(_stamp(f"{place}/{name}") for name in _POOLER_FILES)
        member = _first_number(f"{place}/pid")
        return place, files, self._process(post, self._lock(post, f"{place}/lock")), self._process(post, member)

    def _lock(self, post: _Post, path: str) -> int:
        """Return the pid of who holds a record lock, 0 for nobody. The file is kept open, for as long as it is the one that lies there."""
        try:
            inode = os.stat(path, follow_symlinks=False).st_ino  # noqa: PTH116 a tenth of the time that a Path takes
        except OSError:
            inode = _GONE
        kept = post.locks.get(path)
        if kept is not None and kept[0] != inode:
            os.close(post.locks.pop(path)[1])
            kept = None
        if kept is None:
            if inode == _GONE:
                return 0
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return 0
            kept = post.locks[path] = (inode, descriptor)
        kind, _, _, _, pid = struct.unpack("@hhqqi4x", fcntl.fcntl(kept[1], fcntl.F_GETLK, _ASKED))
        return pid if kind != fcntl.F_UNLCK else 0

    def _process(self, post: _Post, pid: int) -> Hashable:
        """Return a process and its state; its end will be heard."""
        if pid <= 0:
            return 0, "none"
        post.met.add(pid)
        watched = post.processes.get(pid)
        if watched is None:
            try:
                watched = post.processes[pid] = _Watched(pid)
            except OSError:
                return pid, "gone"
            self._poll.register(watched.end, select.POLLIN)
        state = watched.state()
        if state == "gone":
            self._let_go(post, pid)
        return pid, state

    def _let_go(self, post: _Post, pid: int) -> None:
        watched = post.processes.pop(pid)
        with contextlib.suppress(KeyError):
            self._poll.unregister(watched.end)
        watched.close()

    def dismiss(self, instance_id: str) -> None:
        """Forget an instance."""
        post = self._posts.pop(instance_id, None)
        if post is not None:
            for pid in tuple(post.processes):
                self._let_go(post, pid)
            post.close()

    def wait(self, seconds: float) -> None:
        """Wait until a process under watch has ended, somebody calls `wake`, or the time is over; take the exit codes of our children."""
        found = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, _ in found:
            if descriptor == self._woken:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._woken)
            else:
                self._poll.unregister(descriptor)  # heard once is enough: the next glance sees that it has gone
        process.reap()

    def wake(self) -> None:
        """End the wait, from any thread."""
        with self._closing:
            if self._woken >= 0:
                os.eventfd_write(self._woken, 1)

    def close(self) -> None:
        """Let go of every descriptor."""
        for instance_id in tuple(self._posts):
            self.dismiss(instance_id)
        with self._closing:
            os.close(self._woken)
            self._woken = -1


def _stamp(path: str) -> Hashable:
    try:
        seen = os.stat(path, follow_symlinks=False)  # noqa: PTH116 a tenth of the time that a Path takes
    except OSError:
        return None
    return seen.st_ino, seen.st_ctime_ns


def _names(path: str) -> Iterator[tuple[str, int]]:
    try:
        with os.scandir(path) as entries:
            yield from [(entry.name, entry.inode()) for entry in entries]
    except OSError:
        return


def _generations(pool: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(pool) if name[:1] == "g" and name[1:].isdigit())  # noqa: PTH208 names, not paths
    except OSError:
        return []


def _first_number(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(descriptor, 64).split(b"\n")[0].strip()
    finally:
        os.close(descriptor)
    return int(text) if text.isdigit() else 0
