"""SCRAM-SHA-256 (RFC 5802, 7677) for passwords that SASLprep leaves as they are: the verifier that a server stores, and a client's login.

Howdah makes its own passwords from ASCII letters and digits, and RFC 4013 changes nothing of those. Every other password is libpq's
affair. A server that does not know the verifier is found out, as by any client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from howdah import protocol
from howdah.protocol import Stream
from howdah.secret import Secret

MECHANISM: Final = "SCRAM-SHA-256"
ITERATIONS: Final = 4096
"""As PostgreSQL's own scram_iterations, and libpq's."""
_SALT_BYTES: Final = 16
_SASL, _SASL_CONTINUE, _SASL_FINAL, _DONE = 10, 11, 12, 0


class Failure(Exception):
    """A login that was refused, or that the server could not finish."""


def simple(password: Secret) -> bool:
    """Tell whether a password is of ASCII letters and digits alone, so that SASLprep leaves it as it is (RFC 4013)."""
    words = password.reveal()
    return words.isascii() and words.isalnum()


def verifier(password: Secret, salt: bytes | None = None) -> Secret:
    """Return what PostgreSQL stores of a password (scram-common.c, scram_build_secret)."""
    salt = salt if salt is not None else secrets.token_bytes(_SALT_BYTES)
    salted = _salted(password, salt, ITERATIONS)
    stored, server = hashlib.sha256(_hmac(salted, b"Client Key")).digest(), _hmac(salted, b"Server Key")
    return Secret(f"{MECHANISM}${ITERATIONS}:{_b64(salt)}${_b64(stored)}:{_b64(server)}")


def log_in(stream: Stream, password: Secret, deadline: float) -> None:
    """Answer the request for a password that follows a startup message, and return when the server is content; Failure when it is not."""
    offered = _await(stream, _SASL, deadline).split(b"\0")
    if MECHANISM.encode() not in offered:
        raise Failure(f"{MECHANISM} is not asked for")
    nonce = _b64(secrets.token_bytes(18))
    bare = f"n=,r={nonce}"
    first = f"n,,{bare}".encode()
    stream.send(protocol.message(b"p", protocol.text(MECHANISM) + len(first).to_bytes(4, "big") + first), deadline)
    challenge = _await(stream, _SASL_CONTINUE, deadline).decode()
    said = _fields(challenge)
    if not {"r", "s", "i"} <= said.keys() or not said["r"].startswith(nonce) or len(said["r"]) == len(nonce):
        raise Failure("the server does not answer what it was asked")
    salted = _salted(password, base64.b64decode(said["s"]), int(said["i"]))
    closing = f"c=biws,r={said['r']}"  # biws: no channel binding
    exchange = f"{bare},{challenge},{closing}".encode()
    key = _hmac(salted, b"Client Key")
    proof = bytes(a ^ b for a, b in zip(key, _hmac(hashlib.sha256(key).digest(), exchange), strict=True))
    stream.send(protocol.message(b"p", f"{closing},p={_b64(proof)}".encode()), deadline)
    signature = _fields(_await(stream, _SASL_FINAL, deadline).decode()).get("v", "")
    if not hmac.compare_digest(signature, _b64(_hmac(_hmac(salted, b"Server Key"), exchange))):
        raise Failure("the server does not know the verifier")
    _await(stream, _DONE, deadline)


def _await(stream: Stream, code: int, deadline: float) -> bytes:
    """Return what an authentication message of this code brings."""
    kind, body = stream.receive(deadline)
    if kind == b"E":
        raise Failure(protocol.complaint(body).get("M", "no reason given"))
    if kind != b"R" or int.from_bytes(body[:4], "big") != code:
        raise Failure(f"{MECHANISM} is not asked for")
    return body[4:]


def _fields(words: str) -> dict[str, str]:
    """Read a SCRAM message.

    >>> _fields("r=ab,s=c2E=,i=4096")
    {'r': 'ab', 's': 'c2E=', 'i': '4096'}
    """
    return {part[:1]: part[2:] for part in words.split(",")}


def _salted(password: Secret, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, iterations)


def _hmac(key: bytes, words: bytes) -> bytes:
    return hmac.digest(key, words, "sha256")


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
