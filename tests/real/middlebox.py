"""What people put before a pooler: a box that ends TLS itself, with the right certificate, and passes on what is inside. Sound unless told.

Its faults are those of real boxes: it acts on bytes that came before the handshake, serves direct TLS with a certificate of its own, takes
a plaintext login after a request for GSS encryption, and does not know what a cancel request is.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from howdah.core.files import CIPHERS

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
_ASK = struct.pack("!II", 8, SSL_REQUEST)
_DIRECT = 0x16  # a TLS record that holds a handshake
SECONDS = 10


@dataclass(frozen=True)
class Box:
    """Where it listens, what lies behind it, with which pairs (stems of .crt and .key) it ends TLS, and its faults."""

    listener: socket.socket
    behind: int
    pair: Path
    other: Path
    faults: frozenset[str]

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Serve until the listener is shut."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.settimeout(SECONDS)
            Thread(target=self._one, args=(client,)).start()

    def _one(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if client.recv(1, socket.MSG_PEEK)[:1] == bytes([_DIRECT]):
                if "direct" in self.faults:
                    with _server(self.other).wrap_socket(client, server_side=True) as inside:
                        _part(inside)
                return
            first = client.recv(4096)
            code = struct.unpack("!I", first[4:8])[0]
            if code == SSL_REQUEST:
                client.sendall(b"S")
                with _server(self.pair).wrap_socket(client, server_side=True) as inside:
                    self._inside(inside, first[8:])
            elif code == GSS_REQUEST:
                client.sendall(b"N")
                self._pass_on(client, client.recv(4096), tls="gss" in self.faults)
            else:
                self._pass_on(client, first, tls=False)

    def _inside(self, client: socket.socket, early: bytes) -> None:
        if early and "injection" not in self.faults:
            return
        first = early or client.recv(4096)
        if "cancel" in self.faults and first[4:8] == struct.pack("!I", CANCEL_REQUEST):
            return
        self._pass_on(client, first, tls=True)

    def _pass_on(self, client: socket.socket, first: bytes, *, tls: bool) -> None:
        with self._connect(tls) as server:
            server.sendall(first)
            _splice(client, server)
            _part(client)

    def _connect(self, tls: bool) -> socket.socket:
        server = socket.create_connection(("127.0.0.1", self.behind), timeout=SECONDS)
        if not tls:
            return server
        server.sendall(_ASK)
        assert server.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(server)


def _server(stem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{stem}.crt", f"{stem}.key")
    context.set_ciphers(CIPHERS)
    context.set_ecdh_curve("prime256v1")
    return context


def _splice(client: socket.socket, server: socket.socket) -> None:
    """Pass on what comes from either side until one has ended; in one thread, for a TLS connection is not for two."""
    other = {client: server, server: client}
    while ready := [each for each in other if _waiting(each)] or select.select([*other], [], [], SECONDS)[0]:
        for each in ready:
            try:
                each.settimeout(0)
                piece = each.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue  # a part of a record, or a ticket
            finally:
                each.settimeout(SECONDS)
            if not piece:
                return
            other[each].sendall(piece)


def _waiting(each: socket.socket) -> bool:
    return isinstance(each, ssl.SSLSocket) and each.pending() > 0


def _part(client: socket.socket) -> None:
    if isinstance(client, ssl.SSLSocket):
        client.unwrap().close()


@contextmanager
def before(port: int, pair: Path, other: Path, *faults: str) -> Iterator[Box]:
    """Put a box before a port for a while."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        box = Box(listener, port, pair, other, frozenset(faults))
        serving = Thread(target=box.serve)
        serving.start()
        try:
            yield box
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()
