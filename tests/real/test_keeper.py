"""The keeper alone, driven by what it knows: a `keeper.json`, a lock, two signals, and a real PgBouncer."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from howdah.host import accounts, files, installed, keeper, pgbouncer, process, steering
from howdah.host.console import console
from howdah.host.keeper import Plan
from howdah.host.process import Process

INI = """[databases]
[pgbouncer]
auth_type = any
admin_users = pgbouncer
pidfile = pid
logfile = log
"""


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def has_ipv6() -> bool:
    try:
        return free_port("::1") > 0
    except OSError:
        return False


@dataclass
class Bed:
    """Directories of generations on one port; PgBouncer refuses to run as root, so root's are kept by `nobody`."""

    root: Path
    port: int
    addresses: tuple[tuple[str, int], ...]
    account: accounts.Account
    keepers: list[Process] = field(default_factory=list)

    def keep(self, name: str, ini: str = INI) -> Path:
        """Start a keeper in a new directory; it may not be ready yet."""
        directory = self.root / name
        files.make_directory(directory, 0o700, self.account)
        files.put(directory / "pgbouncer.ini", ini, account=self.account)
        return self.keep_again(directory)

    def keep_again(self, directory: Path) -> Path:
        program = installed.find_binary()
        assert program is not None
        plan = Plan(str(program), "", "pgbouncer.ini", self.addresses, f".s.PGSQL.{self.port}", 0o600, 64, 256)
        files.put(directory / "keeper.json", json.dumps(plan._asdict()), account=self.account)
        files.put(directory / "keeper.py", Path(keeper.__file__).read_text(), account=self.account)
        command = [installed.interpreter(self.account), "-I", "-S", directory / "keeper.py", directory / "keeper.json"]
        self.keepers.append(process.spawn([*map(str, command)], account=self.account, stderr=directory / "keeper.log"))
        return directory

    def pid(self, directory: Path) -> str:
        """Return the pid by which the PgBouncer of this directory names itself, once it answers."""
        path = directory / f".s.PGSQL.{self.port}"
        assert process.wait_until(lambda: path.exists() and (directory / "pid").exists(), 5), (directory / "keeper.log").read_text()
        with console(path, uid=self.account.uid, seconds=5) as asked:
            asked.ask("SHOW VERSION")
        return (directory / "pid").read_text().strip()

    def logins(self, directory: Path) -> int:
        """Count the logins over TCP that this generation has seen."""
        return sum("login attempt" in line and "unix" not in line for line in (directory / "log").read_text().splitlines())


@pytest.fixture
def bed() -> Iterator[Bed]:
    account = accounts.account("nobody") if os.geteuid() == 0 else accounts.current_account()
    assert account is not None
    root = Path(tempfile.mkdtemp())  # not tmp_path: nobody may not enter there, and a socket's path must be short
    root.chmod(0o711)
    port = free_port()
    made = Bed(root, port, (("127.0.0.1", port),), account)
    yield made
    for directory in root.iterdir():
        pgbouncer.stop_generation(directory)
    for each in made.keepers:
        process.wait_gone(each, 5)


def login(port: int, address: str = "127.0.0.1", seconds: float = 5) -> None:
    """Log in to the console over TCP, as anyone may here; raise when that is refused."""
    with socket.create_connection((address, port), timeout=seconds) as stream:
        stream.sendall(b"\0\0\0\x2b\0\3\0\0user\0pgbouncer\0database\0pgbouncer\0\0")
        answer = stream.recv(9)
        if answer[:1] != b"R":
            raise ConnectionError(answer)
        stream.sendall(b"X\0\0\0\4")


def test_it_needs_the_standard_library_of_python_3_9_and_nothing_else() -> None:
    tree = ast.parse(Path(keeper.__file__).read_text(), feature_version=(3, 9))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_a_killed_pgbouncer_comes_back_on_the_same_socket(bed: Bed) -> None:
    directory = bed.keep("g1")
    first = bed.pid(directory)
    login(bed.port)
    os.kill(int(first), signal.SIGKILL)
    login(bed.port)  # the socket is held: it waits in the queue and is served
    assert process.wait_until(lambda: (directory / "pid").exists() and bed.pid(directory) != first, 5)


def test_it_is_alive_by_its_lock_which_pgbouncer_does_not_inherit(bed: Bed) -> None:
    directory = bed.keep("g1")
    member = bed.pid(directory)
    assert pgbouncer.quick_look(directory).keeper == bed.keepers[0]
    assert process.stop(bed.keepers[0], signal.SIGTERM, 5)
    seen = pgbouncer.quick_look(directory)
    assert seen.keeper is None
    assert seen.member is not None
    assert str(seen.member.pid) == member
    login(bed.port)


def test_a_second_keeper_gives_way(bed: Bed) -> None:
    directory = bed.keep("g1")
    member = bed.pid(directory)
    bed.keep_again(directory)
    assert process.wait_gone(bed.keepers[1], 5)
    assert "another keeper is alive" in (directory / "keeper.log").read_text()
    assert bed.pid(directory) == member


def test_its_child_has_exactly_the_sockets_and_clean_signals(bed: Bed) -> None:
    member = bed.pid(bed.keep("g1"))
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{member}/status").read_text().splitlines() if ":\t" in line)
    blocked = int(status["SigBlk"], 16)  # SIGPIPE among them: PgBouncer blocks that itself
    assert not [each for each in keeper.OBEYED if blocked & 1 << (each - 1)]
    assert process.file_limit(int(member)) == 256
    environment = Path(f"/proc/{member}/environ").read_bytes().split(b"\0")
    assert f"LISTEN_PID={member}".encode() in environment
    assert b"LISTEN_FDS=2" in environment


def test_an_address_that_is_taken_is_named_at_once(bed: Bed) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", bed.port))
        other.listen()
        directory = bed.keep("g1")
        assert process.wait_gone(bed.keepers[0], 5)
    assert f"cannot listen on 127.0.0.1 port {bed.port}: Address already in use" in (directory / "keeper.log").read_text()


def test_a_pgbouncer_that_dies_young_is_started_ever_more_rarely(bed: Bed) -> None:
    directory = bed.keep("g1", INI + "no_such_setting = 1\n")
    log = directory / "keeper.log"
    assert process.wait_until(lambda: log.read_text().count("ended with 1") >= 3, 10)
    delays = [float(line.split()[-2]) for line in log.read_text().splitlines() if "ended with 1" in line]
    assert delays[:3] == [0.05, 0.1, 0.2]
    files.put(directory / "pgbouncer.ini", INI, account=bed.account)
    bed.pid(directory)


def test_it_counts_the_members_of_a_group() -> None:
    families = [(socket.AF_INET, "127.0.0.1"), *([(socket.AF_INET6, "::1")] if has_ipv6() else [])]
    for family, address in families:
        port = free_port(address)
        assert keeper.listeners(family, address, port) == 0
        with keeper.listen(address, port, 8), keeper.listen(address, port, 8):
            assert keeper.listeners(family, address, port) == 2
            assert keeper.listeners(family, address, port + 1) == 0


def test_connections_go_where_they_are_steered() -> None:
    port = free_port()
    group = ("127.0.0.1", port)
    first, second = keeper.listen(*group, 64), keeper.listen(*group, 64)
    with first, second:
        first.setblocking(False)
        second.setblocking(False)
        for place, (target, other) in enumerate(((first, second), (second, first))):
            assert keeper.steer(second, steering.program(group, [place]))
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
            accepted = [target.accept()[0] for _ in clients]
            with pytest.raises(BlockingIOError):
                other.accept()
            for each in (*clients, *accepted):
                each.close()
        first.close()  # place 1 is no more: the kernel falls back to the one that is left
        socket.create_connection(("127.0.0.1", port)).close()
        second.accept()[0].close()


def test_a_newcomer_gets_no_login_until_it_is_told_to_take_them(bed: Bed) -> None:
    one = bed.keep("g1")
    bed.pid(one)
    two = bed.keep("g2")
    bed.pid(two)
    for _ in range(20):
        login(bed.port)
    assert (bed.logins(one), bed.logins(two)) == (20, 0)
    assert pgbouncer.word(two) == "holding"
    assert steering.steer([two])
    assert pgbouncer.steering(two)
    for _ in range(20):
        login(bed.port)
    assert (bed.logins(one), bed.logins(two)) == (20, 20)


def test_every_address_is_held_and_steered(bed: Bed) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    bed.addresses = (("127.0.0.1", bed.port), ("::1", bed.port))
    one = bed.keep("g1")
    bed.pid(one)
    two = bed.keep("g2")
    bed.pid(two)
    assert steering.steer([two])
    for address in ("127.0.0.1", "::1"):
        for _ in range(10):
            login(bed.port, address)
    assert (bed.logins(one), bed.logins(two)) == (0, 20)


def test_it_holds_no_output_open(bed: Bed) -> None:
    bed.keep("g1")
    bed.pid(bed.root / "g1")
    for number in (0, 1):
        assert os.readlink(f"/proc/{bed.keepers[0].pid}/fd/{number}") == "/dev/null"  # noqa: PTH115


def test_it_sleeps_when_nothing_happens(bed: Bed) -> None:
    bed.pid(bed.keep("g1"))

    def ticks() -> int:
        fields = Path(f"/proc/{bed.keepers[0].pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.5)
    assert ticks() == before


def test_a_usage_error_ends_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, keeper.__file__, tmp_path / "keeper.json"], capture_output=True, timeout=20)
    assert done.returncode == 1
