"""A TLS ClientHello made by hand, that offers one version and nothing else: OpenSSL refuses to offer what it holds for broken."""

from __future__ import annotations

import os
import struct
from typing import Literal

TlsVersion = Literal["SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
_NUMBERS: dict[TlsVersion, int] = {"SSLv3": 0x0300, "TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# What servers of the last twenty years choose from, by their numbers in the registry of TLS parameters (RFC 8446, B.4).
_MODERN = (0x1301, 0x1302, 0x1303)
_OLD = (
    *(0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC023, 0xC027, 0xC024, 0xC028, 0xC009, 0xC013, 0xC00A, 0xC014),
    *(0x009C, 0x009D, 0x002F, 0x0035, 0x000A, 0x00FF),
)
_GROUPS = (0x001D, 0x0017, 0x0018, 0x0019)
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)
_HANDSHAKE, _SERVER_HELLO = 22, 2


def client_hello(version: TlsVersion) -> bytes:
    """Return the record. For TLS 1.3 no key is shared: a server that speaks it asks for one, and that is answer enough."""
    number = _NUMBERS[version]
    modern = version == "TLSv1.3"
    extensions = _extension(10, _vector(2, _numbers(_GROUPS))) + _extension(11, b"\1\0") + _extension(13, _vector(2, _numbers(_SIGNATURES)))
    if modern:
        extensions += _extension(43, b"\2\3\4") + _extension(51, b"\0\0")
    body = struct.pack("!H", min(number, 0x0303)) + os.urandom(32) + b"\0"
    body += _vector(2, _numbers(_MODERN if modern else _OLD)) + b"\1\0"
    body += _vector(2, extensions) if version != "SSLv3" else b""
    return struct.pack("!BH", _HANDSHAKE, min(number, 0x0301)) + _vector(2, b"\1" + _vector(3, body))


def agrees(version: TlsVersion, kind: int, record: bytes) -> bool:
    """Whether the first record that came back, of this content type, is a ServerHello for the version offered, and not an alert."""
    if kind != _HANDSHAKE or len(record) < 39 or record[0] != _SERVER_HELLO:
        return False
    (chosen,) = struct.unpack("!H", record[4:6])
    if version != "TLSv1.3":
        return bool(chosen == _NUMBERS[version])
    at = 39 + record[38]  # type, length, version, random, then the session id with its length
    return struct.unpack("!H", record[at : at + 2])[0] in _MODERN


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join(struct.pack("!H", number) for number in numbers)


def _vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def _extension(number: int, content: bytes) -> bytes:
    return struct.pack("!H", number) + _vector(2, content)
