"""What a stranger is told on a PostgreSQL port: raw questions to PostgreSQL or PgBouncer, as any client on the network may ask them.

No password is ever sent and no login is finished, so it can be asked at any time and of anybody's server. An answer, also that there
was none, is a value and never an exception; every question has a time limit. Standard library only.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from howdah.certificate import Certificate, read_der
from howdah.hello import TlsVersion, agrees, client_hello
from howdah.protocol import complaint, left, startup

# Only a server that stands still takes as long as this. One on a small or busy machine may take seconds to answer, and whoever
# gives up on it earlier takes it for broken.
SECONDS = 10.0
PROBE_USER = "howdah_probe"
PROBE_DATABASE = "postgres"
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_GSS_REQUEST = struct.pack("!II", 8, 80877104)
_LONGEST_MESSAGE = 65536
NO_TLS = "tls is not spoken"
_SASL = 10
_LOGIN_SECONDS = 0.5
_GOODBYE_SECONDS = 0.2


@dataclass(frozen=True)
class Answer:
    """What came back: an authentication request (`code` its number), an error (`code` its SQLSTATE), or why nothing came.

    `closed`: the connection ended without a word; `silent`: nothing until the time limit; `unreachable`: no connection, or no TLS on it;
    `nonsense`: not this protocol.
    """

    kind: Literal["authentication", "error", "closed", "silent", "unreachable", "nonsense"]
    code: str = ""
    message: str = ""
    mechanisms: tuple[str, ...] = ()  # of a SASL request

    @property
    def demands_tls(self) -> bool:
        """Whether a plaintext startup was refused for being plaintext: by pg_hba.conf (28000), or by PgBouncer ("SSL required")."""
        return self.kind == "error" and (self.code == "28000" or self.message == "SSL required")

    @property
    def lax(self) -> bool:
        """Whether a startup is let in at once, or with another proof than SCRAM."""
        return self.kind == "authentication" and self.code != str(_SASL)

    @property
    def too_early(self) -> bool:
        """Whether the server is starting, stopping or full (57P01 to 57P03, 53300), and so says nothing about TLS."""
        return self.kind == "error" and (self.code.startswith("57P") or self.code == "53300")


@dataclass(frozen=True)
class Trust:
    """How a handshake is made: with a CA file the chain is verified, with a name beside it the name too; without, nothing is.

    `direct` begins TLS at once, with ALPN `postgresql` unless told otherwise, as libpq's `sslnegotiation=direct` does.
    """

    cafile: str | None = None
    name: str | None = None
    minimum: ssl.TLSVersion | None = None
    maximum: ssl.TLSVersion | None = None
    ciphers: str | None = None
    group: str | None = None  # the one key exchange group that is offered
    direct: bool = False
    alpn: bool = True


@dataclass(frozen=True)
class Handshake:
    """A TLS handshake as it went; `error` says why there was none, `silent` that it was the time limit, which is nobody's refusal.

    Serial and fingerprint (SHA-256) are lower-case hexadecimal.
    """

    version: str = ""
    cipher: str = ""
    serial: str = ""
    fingerprint: str = ""
    alpn: str = ""
    certificate: Certificate | None = None
    der: bytes = b""
    error: str = ""
    silent: bool = False


@dataclass(frozen=True)
class Knock:
    """One look at a port. `error` is set when it could not be judged: nobody answers, or the server is starting, stopping or full.

    `login` is how a login over TLS would go on, in plaintext where TLS is not spoken.
    """

    answers: bool = False
    plaintext_refused: bool = False
    error: str = ""
    plaintext: Answer = Answer("unreachable")
    tls: Handshake = Handshake()
    login: Answer = Answer("unreachable")

    @property
    def serial(self) -> str:
        """Serial number of the certificate served, empty where TLS is not spoken."""
        return self.tls.serial

    @property
    def lax(self) -> bool:
        """Whether a login is asked for nothing, or for less than SCRAM."""
        return self.login.lax


def dial(address: str) -> str:
    """Return an address at which a listener on `address` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def knock(host: str, port: int, seconds: float = SECONDS, *, user: str = PROBE_USER, database: str = PROBE_DATABASE) -> Knock:
    """Ask on two connections: is a plaintext startup refused for being plaintext; which certificate is served, and what is `user` asked?"""
    plain = startup_plain(host, port, seconds=seconds)
    if plain.kind not in ("authentication", "error", "closed"):
        return Knock(error=plain.message or plain.kind, plaintext=plain)
    error = plain.message if plain.too_early else ""
    greeting, login = _greet(host, port, _login(user, database), seconds)
    if login.kind == "unreachable":
        login = startup_plain(host, port, user, database, seconds=_LOGIN_SECONDS) if not plain.demands_tls else plain
    return Knock(True, plain.demands_tls, error, plain, greeting, login)


def _greet(host: str, port: int, login: bytes, seconds: float) -> tuple[Handshake, Answer]:
    """Shake hands, and begin a login on the same connection; whoever has to look the user up first may take long, and is not waited for."""
    deadline = time.monotonic() + seconds
    greeting = Handshake()
    try:
        with _secured(host, port, Trust(), deadline) as wire:
            greeting = _facts(wire)
            return greeting, _ask(wire, login, min(deadline, time.monotonic() + _LOGIN_SECONDS))
    except (OSError, EOFError) as error:
        return greeting if greeting.serial else Handshake(error=_reason(error)), Answer("unreachable", message=_reason(error))
    except ValueError as error:
        return Handshake(error=str(error)), Answer("unreachable", message=str(error))


def startup_plain(host: str, port: int, user: str = PROBE_USER, database: str = PROBE_DATABASE, *, seconds: float = SECONDS) -> Answer:
    """Send a startup message without asking for TLS, and return what comes back."""
    deadline = time.monotonic() + seconds
    try:
        with _connect(host, port, deadline) as wire:
            return _ask(wire, _login(user, database), deadline)
    except (OSError, EOFError) as error:
        return Answer("unreachable", message=_reason(error))


def auth_methods(
    host: str,
    port: int,
    user: str = PROBE_USER,
    database: str = PROBE_DATABASE,
    *,
    trust: Trust = Trust(),
    seconds: float = SECONDS,
) -> Answer:
    """Begin a login over TLS and return what is asked for; code 10 is SASL, whose mechanisms are in the answer."""
    deadline = time.monotonic() + seconds
    try:
        with _secured(host, port, trust, deadline) as wire:
            return _ask(wire, _login(user, database), deadline)
    except (OSError, EOFError) as error:
        return Answer("unreachable", message=_reason(error))


def handshake(host: str, port: int, *, trust: Trust = Trust(), seconds: float = SECONDS) -> Handshake:
    """Shake hands and tell what was agreed on and served."""
    deadline = time.monotonic() + seconds
    try:
        with _secured(host, port, trust, deadline) as wire:
            return _facts(wire)
    except (OSError, EOFError) as error:
        return Handshake(error=_reason(error), silent=isinstance(error, TimeoutError))
    except ValueError as error:
        return Handshake(error=str(error))


def inject(host: str, port: int, *, seconds: float = SECONDS) -> Answer:
    """Send a startup message in one segment with the request for TLS (CVE-2021-23214, CVE-2021-3935), and return what answers it.

    A sound server never acts on it: `closed`, `silent`, or an error about unencrypted data. An `authentication` means that bytes
    from before the handshake were taken for the client's.
    """
    deadline = time.monotonic() + seconds
    try:
        with _connect(host, port, deadline) as plain:
            plain.sendall(_SSL_REQUEST + _login(PROBE_USER, PROBE_DATABASE))
            first = _receive(plain, 1, deadline)
            if first != b"S":
                return _message(plain, first, deadline) if first == b"E" else Answer("unreachable", message="TLS is not spoken")
            plain.settimeout(left(deadline))
            with _anybody().wrap_socket(plain) as wire:
                return _ask(wire, b"", deadline)
    except TimeoutError as error:
        return Answer("silent", message=_reason(error))
    except (OSError, EOFError) as error:
        return Answer("closed", message=_reason(error))


def ask_for_gss(host: str, port: int, user: str = PROBE_USER, database: str = PROBE_DATABASE, *, seconds: float = SECONDS) -> Answer | None:
    """Ask for GSS encryption, and where there is none begin a login in plaintext; None where the server takes GSS encryption up."""
    deadline = time.monotonic() + seconds
    try:
        with _connect(host, port, deadline) as wire:
            wire.sendall(_GSS_REQUEST)
            first = _receive(wire, 1, deadline)
            if first == b"G":
                return None
            return _ask(wire, _login(user, database), deadline) if first == b"N" else _message(wire, first, deadline)
    except EOFError as error:
        return Answer("closed", message=_reason(error))
    except OSError as error:
        return Answer("unreachable", message=_reason(error))


def tls_version_accepted(host: str, port: int, version: TlsVersion, *, seconds: float = SECONDS) -> bool | None:
    """Offer this one version in a hello made by hand, since the local OpenSSL may refuse to; None when nobody answers in time."""
    deadline = time.monotonic() + seconds
    try:
        with _connect(host, port, deadline) as wire:
            wire.sendall(_SSL_REQUEST)
            if _receive(wire, 1, deadline) != b"S":
                return False
            wire.sendall(client_hello(version))
            kind, _, length = struct.unpack("!BHH", _receive(wire, 5, deadline))
            return agrees(version, kind, _receive(wire, length, deadline))
    except (EOFError, ConnectionResetError):
        return False  # some end the connection instead of sending an alert
    except OSError:
        return None


def _login(user: str, database: str) -> bytes:
    return startup([("user", user), ("database", database)])


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    if host[-1:].isdigit() or ":" in host:  # an address; to resolve even that, Python imports 6 ms of IDNA
        wire = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        _reach(wire, host, port, deadline)
    else:
        wire = socket.create_connection((host, port), timeout=left(deadline))
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def _reach(wire: socket.socket, address: str, port: int, deadline: float) -> None:
    try:
        wire.settimeout(left(deadline))
        wire.connect((address, port))
    except OSError:
        wire.close()
        raise


@contextlib.contextmanager
def connected(host: str, port: int, *, tls: bool, seconds: float = SECONDS) -> Iterator[socket.socket]:
    """Hold a connection on which nothing has been said yet, inside TLS if wanted; OSError or EOFError when there is none."""
    deadline = time.monotonic() + seconds
    if tls:
        with _secured(host, port, Trust(), deadline) as wire:
            yield wire
    else:
        with _connect(host, port, deadline) as plain:
            yield plain


@contextlib.contextmanager
def _secured(host: str, port: int, trust: Trust, deadline: float) -> Iterator[ssl.SSLSocket]:
    context = _anybody() if trust == Trust() else _context(trust)
    with _connect(host, port, deadline) as plain:
        if not trust.direct:
            plain.sendall(_SSL_REQUEST)
            if _receive(plain, 1, deadline) != b"S":
                raise ConnectionError(NO_TLS)
        plain.settimeout(left(deadline))
        with context.wrap_socket(plain, server_hostname=trust.name) as wire:
            yield wire
            _part(wire, deadline)


def _part(wire: ssl.SSLSocket, deadline: float) -> None:
    """Say goodbye: a socket closed with session tickets unread is reset, and PostgreSQL writes a line about each into its log."""
    with contextlib.suppress(OSError):
        wire.settimeout(min(left(deadline), _GOODBYE_SECONDS))
        wire.unwrap()


@functools.cache
def _anybody() -> ssl.SSLContext:
    return _context(Trust())


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # 2 ms; create_default_context() reads the system's CAs: 40
    context.check_hostname = trust.cafile is not None and trust.name is not None
    if trust.cafile is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(trust.cafile)
    context.minimum_version = trust.minimum or context.minimum_version
    context.maximum_version = trust.maximum or context.maximum_version
    if trust.ciphers is not None:
        context.set_ciphers(trust.ciphers)
    if trust.group is not None:
        context.set_ecdh_curve(trust.group)
    if trust.direct and trust.alpn:
        context.set_alpn_protocols(["postgresql"])
    return context


def _facts(wire: ssl.SSLSocket) -> Handshake:
    der = wire.getpeercert(binary_form=True) or b""
    cipher = wire.cipher()
    served = read_der(der)
    return Handshake(
        wire.version() or "",
        cipher[0] if cipher else "",
        served.serial,
        served.fingerprint,
        wire.selected_alpn_protocol() or "",
        served,
        der,
    )


def _ask(wire: socket.socket, message: bytes, deadline: float) -> Answer:
    try:
        wire.sendall(message)
        return _message(wire, _receive(wire, 1, deadline), deadline)
    except TimeoutError as error:
        return Answer("silent", message=_reason(error))
    except (EOFError, ConnectionError) as error:
        return Answer("closed", message=_reason(error))


def _message(wire: socket.socket, kind: bytes, deadline: float) -> Answer:
    head = _receive(wire, 4, deadline)
    (length,) = struct.unpack("!I", head)
    if kind == b"E" and head == b"FATA":
        # PostgreSQL 13 writes a line of text while it does not know yet which protocol is spoken (elog.c, send_message_to_frontend)
        return Answer("error", message=_line(wire, head, deadline).removeprefix("FATAL:").strip())
    if kind not in (b"R", b"E") or not 8 <= length <= _LONGEST_MESSAGE:
        return Answer("nonsense", message="this is not a PostgreSQL server")
    body = _receive(wire, length - 4, deadline)
    if kind == b"R":
        (number,) = struct.unpack("!I", body[:4])
        names = tuple(name.decode(errors="replace") for name in body[4:].split(b"\0") if name) if number == _SASL else ()
        return Answer("authentication", str(number), mechanisms=names)
    fields = complaint(body)
    return Answer("error", fields.get("C", ""), fields.get("M", ""))


def _line(wire: socket.socket, begun: bytes, deadline: float) -> str:
    """Return the text that ends with a NUL, or with the connection."""
    line = begun
    with contextlib.suppress(EOFError, ConnectionError):
        while not line.endswith(b"\0") and len(line) < _LONGEST_MESSAGE:
            line += _receive(wire, 1, deadline)
    return line.rstrip(b"\0").decode(errors="replace")


def _receive(wire: socket.socket, count: int, deadline: float) -> bytes:
    """Return exactly `count` bytes; EOFError when the other side ends before."""
    got = b""
    while len(got) < count:
        wire.settimeout(left(deadline))
        piece = wire.recv(count - len(got))
        if not piece:
            raise EOFError("the connection was closed")
        got += piece
    return got


def _reason(error: OSError | EOFError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the connection was closed"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
