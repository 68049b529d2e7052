"""The wire asked of real servers, with TLS on, off and half on, and of strangers that are no servers at all."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from howdah.core.observed import Pair
from howdah.hello import TlsVersion
from howdah.host.accounts import Account, account, current_account
from howdah.host.pki import issue
from howdah.wire import Trust, auth_methods, handshake, inject, knock, startup_plain, tls_version_accepted

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/bin"))
PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "pgbouncer"


@dataclass(frozen=True)
class Servers:
    """PostgreSQL with TLS required and without TLS, and PgBouncer in each of its modes; ports by name, and their pairs."""

    ports: dict[str, int]
    serials: dict[str, str]
    ca: str
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a port that a server may bind, since it too sets SO_REUSEADDR and we never listen, but that nobody is given by chance."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@contextmanager
def running(command: list[str], who: Account, log: Path, port: int) -> Iterator[None]:
    other = who.uid != os.geteuid()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            user=who.uid if other else None,
            group=who.gid if other else None,
            extra_groups=[] if other else None,
        )
    try:
        wait_until_answered(port, log)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def wait_until_answered(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while not (seen := knock("127.0.0.1", port)).answers or seen.error:
        assert time.monotonic() < deadline, f"no answer within 30 s: {log.read_text()}"
        time.sleep(0.005)


def postgres(root: Path, name: str, who: Account, pair: Pair | None, lines: str) -> list[str]:
    data = root / name
    initdb = [str(BIN / "initdb"), "-N", "-D", str(data), "-U", "postgres", "--auth-local=peer", "--auth-host=scram-sha-256"]
    other = who.uid != os.geteuid()
    user, group = (who.uid, who.gid) if other else (None, None)
    groups: list[int] | None = [] if other else None
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", user=user, group=group, extra_groups=groups, timeout=120)
    (data / "pg_hba.conf").write_text(lines)
    stem = root / "tls" / f"direct.{pair.serial}" if pair else None
    tls = f"ssl = on\nssl_cert_file = '{stem}.crt'\nssl_key_file = '{stem}.key'\n" if pair else ""
    (data / "postgresql.conf").write_text(f"fsync = off\nunix_socket_directories = ''\n{tls}")
    return [str(BIN / "postgres"), "-D", str(data)]


def pgbouncer(root: Path, mode: str, who: Account, pair: Pair, port: int) -> list[str]:
    stem = root / "tls" / f"pooled.{pair.serial}"
    file = root / f"{mode}.ini"
    file.write_text(
        f"[databases]\n* = host=127.0.0.1 port=1\n[pgbouncer]\nclient_tls_sslmode = {mode}\nclient_tls_key_file = {stem}.key\n"
        f"client_tls_cert_file = {stem}.crt\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = scram-sha-256\nauth_file = /dev/null\n"
    )
    os.chown(file, who.uid, who.gid)
    return [PGBOUNCER, "-q", str(file)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    who = (account("postgres") if os.geteuid() == 0 else None) or current_account()
    root = tmp_path_factory.mktemp("w")
    for directory in (root, *root.parents[:2]):
        directory.chmod(0o711)
    shared = root / "s"
    shared.mkdir()
    os.chown(shared, who.uid, who.gid)
    names = ["localhost", "127.0.0.1", "::1"]
    direct = issue(root, shared / "tls", "direct", names, 397, who)
    pooled = issue(root, shared / "tls", "pooled", names, 397, who)
    only_tls = "hostssl all all all scram-sha-256\nhostnossl all all all reject\n"
    with ExitStack() as stack:
        ports = {name: stack.enter_context(reserved_port()) for name in ("on", "off", "require", "allow", "disable")}
        for name, pair, lines in (("on", direct, only_tls), ("off", None, "host all all all scram-sha-256\n")):
            command = postgres(shared, name, who, pair, lines)
            listen = ["-c", f"port={ports[name]}", "-c", f"listen_addresses={'127.0.0.1,::1' if has_v6() else '127.0.0.1'}"]
            stack.enter_context(running([*command, *listen], who, root / f"{name}.log", ports[name]))
        for mode in ("require", "allow", "disable"):
            stack.enter_context(running(pgbouncer(shared, mode, who, pooled, ports[mode]), who, root / f"{mode}.log", ports[mode]))
        serials = {"on": direct.serial, "off": "", "require": pooled.serial, "allow": pooled.serial, "disable": ""}
        yield Servers(ports, serials, str(root / "ca" / "ca.crt"), root / "on.log")


def has_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", ["on", "off", "require", "allow", "disable"])
def test_a_knock_tells_whether_plaintext_is_refused_and_what_is_served(servers: Servers, name: str) -> None:
    seen = knock("127.0.0.1", servers.ports[name])
    assert seen.answers and seen.error == ""
    assert seen.plaintext_refused == (name in ("on", "require"))
    assert seen.serial == servers.serials[name]
    assert seen.plaintext.code in (("28000", "08P01") if seen.plaintext_refused else ("10",))


def test_every_address_and_name_can_be_knocked_at(servers: Servers) -> None:
    assert knock("localhost", servers.ports["on"]).serial == servers.serials["on"]
    if not has_v6():
        pytest.skip("this machine has no ::1")
    assert knock("::1", servers.ports["on"]).serial == servers.serials["on"]


def test_a_knock_leaves_no_line_but_the_refusal_in_the_log(servers: Servers) -> None:
    before = len(servers.log.read_text().splitlines())
    for _ in range(5):
        knock("127.0.0.1", servers.ports["on"])
    assert [line for line in servers.log.read_text().splitlines()[before:] if "pg_hba.conf rejects" not in line] == []


@pytest.mark.parametrize(("name", "mechanisms"), [("on", {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}), ("require", {"SCRAM-SHA-256"})])
def test_only_scram_is_asked_for(servers: Servers, name: str, mechanisms: set[str]) -> None:
    answer = auth_methods("127.0.0.1", servers.ports[name], trust=Trust(servers.ca, "localhost"))
    assert (answer.kind, answer.code, set(answer.mechanisms)) == ("authentication", "10", mechanisms)
    assert auth_methods("127.0.0.1", servers.ports["off"]).message == "tls is not spoken"


@pytest.mark.parametrize("name", ["on", "require"])
def test_a_handshake_believes_the_right_authority_and_name_only(servers: Servers, name: str, tmp_path: Path) -> None:
    port = servers.ports[name]
    good = handshake("127.0.0.1", port, trust=Trust(servers.ca, "localhost"))
    assert (good.error, good.version, good.serial) == ("", "TLSv1.3", servers.serials[name])
    assert good.certificate is not None and good.certificate.names == {"localhost", "127.0.0.1", "::1"}
    assert handshake("127.0.0.1", port, trust=Trust(servers.ca, "127.0.0.1")).error == ""
    assert "mismatch" in handshake("127.0.0.1", port, trust=Trust(servers.ca, "other.example")).error
    issue(tmp_path, tmp_path / "tls", "direct", ["localhost"], 1)
    assert "issuer" in handshake("127.0.0.1", port, trust=Trust(str(tmp_path / "ca" / "ca.crt"), "localhost")).error
    assert handshake("127.0.0.1", port, trust=Trust("/nonexistent")).error == "no such file or directory"


@pytest.mark.parametrize("name", ["on", "require"])
def test_version_and_cipher_can_be_asked_for(servers: Servers, name: str) -> None:
    older = Trust(maximum=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    seen = handshake("127.0.0.1", servers.ports[name], trust=older)
    assert (seen.version, seen.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert handshake("127.0.0.1", servers.ports[name], trust=Trust(maximum=ssl.TLSVersion.TLSv1_2, ciphers="RSA")).error


@pytest.mark.parametrize("name", ["on", "require", "disable"])
def test_old_versions_are_told_from_new_ones(servers: Servers, name: str) -> None:
    versions: tuple[TlsVersion, ...] = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
    accepted = {version: tls_version_accepted("127.0.0.1", servers.ports[name], version) for version in versions}
    modern = name != "disable"
    assert accepted == {"SSLv3": False, "TLSv1": False, "TLSv1.1": False, "TLSv1.2": modern, "TLSv1.3": modern}


def test_an_old_version_that_is_accepted_is_noticed(servers: Servers, tmp_path: Path) -> None:
    pair = issue(tmp_path, tmp_path / "tls", "direct", ["localhost"], 1)
    port, stem = free_port(), tmp_path / "tls" / f"direct.{pair.serial}"
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{stem}.crt", "-key", f"{stem}.key", "-quiet"]
    # s_server knows no SSLRequest: a middleman answers it with `S` and passes on the rest.
    for allowed, version in (("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1"), ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        server = subprocess.Popen([*command, allowed, "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            with middleman(port) as door:
                offers: tuple[TlsVersion, ...] = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
                assert [offer for offer in offers if tls_version_accepted("127.0.0.1", door, offer)] == [version]
        finally:
            server.kill()
            server.communicate(timeout=10)


@contextmanager
def middleman(port: int) -> Iterator[int]:
    """Answer `S` to the first 8 bytes of each connection, then pass one message each way."""
    with listening() as door:

        def serve() -> None:
            while True:
                try:
                    client, _ = door.accept()
                except OSError:
                    return
                with client, connected(port) as server:
                    client.recv(8)
                    client.sendall(b"S")
                    server.sendall(client.recv(4096))
                    client.sendall(server.recv(4096))

        threading.Thread(target=serve, daemon=True).start()
        yield int(door.getsockname()[1])
        door.shutdown(socket.SHUT_RDWR)


def connected(port: int) -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        yield door


@pytest.mark.parametrize("name", ["on", "require", "allow"])
def test_bytes_before_the_handshake_are_not_taken_for_the_clients(servers: Servers, name: str) -> None:
    answer = inject("127.0.0.1", servers.ports[name], seconds=2)
    assert answer.kind != "authentication"
    assert "unencrypted data" in answer.message


def test_direct_tls_is_a_clean_failure_where_it_is_not_known(servers: Servers) -> None:
    for name in ("on", "require"):
        seen = handshake("127.0.0.1", servers.ports[name], trust=Trust(direct=True))
        assert seen.alpn == "postgresql" or seen.error


def test_a_closed_port_is_an_answer() -> None:
    port = free_port()
    assert knock("127.0.0.1", port).error == "connection refused"
    assert not knock("127.0.0.1", port).answers
    assert startup_plain("127.0.0.1", port).kind == "unreachable"
    assert handshake("127.0.0.1", port).error == "connection refused"
    assert auth_methods("127.0.0.1", port).kind == "unreachable"
    assert tls_version_accepted("127.0.0.1", port, "TLSv1.2") is None


def test_a_silent_port_costs_no_more_than_the_limit() -> None:
    with listening() as door:
        port = int(door.getsockname()[1])
        began = time.monotonic()
        assert startup_plain("127.0.0.1", port, seconds=0.1).kind == "silent"
        greeting = handshake("127.0.0.1", port, seconds=0.1)
        assert (greeting.error, greeting.silent) == ("timed out", True)
        assert inject("127.0.0.1", port, seconds=0.1).kind == "silent"
        assert tls_version_accepted("127.0.0.1", port, "TLSv1.3", seconds=0.1) is None
        assert not knock("127.0.0.1", port, 0.1).answers
        assert time.monotonic() - began < 5


STRANGERS = {
    b"": "closed",
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "nonsense",
    b"R": "closed",
    b"R\0\0\0\4": "nonsense",
    b"R\x7f\xff\xff\xff": "nonsense",
    b"ERROR\r\n": "nonsense",
    b"EFATAL:  received unencrypted data after SSL request\n\0": "error",
    b"E\0\0\0\x0cC57P03\0\0": "error",
    b"R\0\0\0\x08\0\0\0\3": "authentication",
}


@pytest.mark.parametrize("words", STRANGERS)
def test_a_stranger_is_told_from_a_server(words: bytes) -> None:
    with listening() as door:

        def serve() -> None:
            for _ in range(2):
                client, _ = door.accept()
                with client:
                    client.recv(4096)
                    client.sendall(words)

        threading.Thread(target=serve, daemon=True).start()
        port = int(door.getsockname()[1])
        answer = startup_plain("127.0.0.1", port)
        assert answer.kind == STRANGERS[words]
        assert not answer.demands_tls
        assert handshake("127.0.0.1", port).error
