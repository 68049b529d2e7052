"""One session with a PostgreSQL server over its unix socket: statements, parameters, answers, errors, transactions; no password, no TLS.

It speaks the protocol's text format, simple and extended. Values arrive as the Python types of the few PostgreSQL types that Howdah asks
for; all others stay text. Who may come in and what is said there is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from howdah import protocol
from howdah.protocol import Message, Stream

Row = tuple[Any, ...]
Value = str | int | float | None
_AUTHENTICATED: Final = b"\0\0\0\0"


class SqlError(Exception):
    """What PostgreSQL said. `sqlstate` is empty where it could not be asked, or broke off; such an error ends the session."""

    def __init__(self, message: str, sqlstate: str = "", detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.sqlstate, self.detail, self.hint = message, sqlstate, detail, hint


@dataclass(frozen=True)
class Answer:
    """The rows that one statement returned; none for one that returns no rows."""

    rows: list[Row]
    returns: bool  # whether the statement returns rows at all

    def fetchone(self) -> Row | None:
        """Return the first row, if there is one."""
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[Row]:
        """Return the rows."""
        return self.rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


@dataclass(frozen=True)
class Session:
    """An open session; get one from `opened()`. `version` is server_version_num, such as 150018."""

    stream: Stream
    version: int
    seconds: float  # how long an answer may take

    def execute(self, statement: str, parameters: Sequence[Value] = ()) -> Answer:
        """Run one statement, with a value for each of $1, $2 …, and return its answer; SqlError when it is refused."""
        if parameters:
            return self._ask(_extended(statement, parameters))[-1]
        return self.ask(statement)[-1]

    def ask(self, statements: str) -> list[Answer]:
        """Run statements with semicolons between them, in one message, and return an answer for each."""
        return self._ask(protocol.message(b"Q", _text(statements)))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold what is done in one transaction: committed at the end, rolled back when anything is raised."""
        self.ask("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(SqlError):  # the first error is the one to be told; without a session there is nothing to roll back
                self.ask("ROLLBACK")
            raise
        self.ask("COMMIT")

    def _ask(self, messages: bytes) -> list[Answer]:
        deadline = time.monotonic() + self.seconds
        answers: list[Answer] = []
        refused: SqlError | None = None
        try:
            self.stream.send(messages, deadline)
            reading = _Reading()
            while (received := self.stream.receive(deadline))[0] != b"Z":
                if received[0] == b"E":
                    refused = refused or _error(received[1])
                elif (answer := reading.take(received)) is not None:
                    answers.append(answer)
        except (OSError, EOFError) as error:
            raise refused or SqlError(_reason(error)) from error
        if refused is not None:
            raise refused
        return answers


class _Reading:
    """Answers as they come in, message by message."""

    def __init__(self) -> None:
        self._decoders: list[Callable[[str], Any]] = []
        self._rows: list[Row] = []
        self._returns = False

    def take(self, received: Message) -> Answer | None:
        """Take one message; return the answer that it ends."""
        kind, body = received
        if kind == b"T":
            self._decoders, self._returns = [_DECODERS.get(oid, str) for _, oid in protocol.columns(body)], True
        elif kind == b"D":
            read = zip(self._decoders, protocol.cells(body), strict=True)
            self._rows.append(tuple(None if cell is None else decode(cell) for decode, cell in read))
        elif kind in (b"C", b"I"):
            answer = Answer(self._rows, self._returns)
            self._rows, self._returns = [], False
            return answer
        return None


@contextlib.contextmanager
def opened(path: Path, words: Mapping[str, str], *, seconds: float, answer_seconds: float) -> Iterator[Session]:
    """Open a session with these startup parameters; SqlError when the server does not let us in within `seconds`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        stream = Stream(connection)
        try:
            deadline = time.monotonic() + seconds
            stream.reach(path, deadline)
            version = _enter(stream, words, deadline)
        except (OSError, EOFError) as error:
            raise SqlError(f"connection to {path} failed: {_reason(error)}") from error
        yield Session(stream, version, answer_seconds)
        with contextlib.suppress(OSError):
            stream.send(protocol.message(b"X"), time.monotonic() + 1)


def _enter(stream: Stream, words: Mapping[str, str], deadline: float) -> int:
    stream.send(protocol.startup(words.items()), deadline)
    version = 0
    while (received := stream.receive(deadline))[0] != b"Z":
        kind, body = received
        if kind == b"E":
            raise _error(body)
        if kind == b"R" and body[:4] != _AUTHENTICATED:
            raise SqlError("the server asks for a password", "28000")
        if kind == b"S" and body.startswith(b"server_version\0"):
            version = version_number(body.split(b"\0")[1].decode(errors="replace"))
    return version


def version_number(words: str) -> int:
    """Return server_version_num of what the server calls its version.

    >>> version_number("15.18 (Debian 15.18-0+deb12u1)"), version_number("19devel")
    (150018, 190000)
    """
    major, _, rest = words.partition(" ")[0].partition(".")
    digits = "".join(letter for letter in major if letter.isdigit())
    return int(digits or 0) * 10000 + (int(rest) if rest.isdigit() else 0)


def _extended(statement: str, parameters: Sequence[Value]) -> bytes:
    """Return the messages that run one statement with its values, all of them as text whose types the server infers."""
    cells = [None if value is None else str(value).encode() for value in parameters]
    values = b"".join(struct.pack("!i", -1) if cell is None else struct.pack("!i", len(cell)) + cell for cell in cells)
    parse = b"\0" + _text(statement) + struct.pack("!h", 0)
    bind = b"\0\0" + struct.pack("!hh", 0, len(cells)) + values + struct.pack("!h", 0)
    kinds = ((b"P", parse), (b"B", bind), (b"D", b"P\0"), (b"E", b"\0\0\0\0\0"), (b"S", b""))
    return b"".join(protocol.message(kind, body) for kind, body in kinds)


def _text(words: str) -> bytes:
    try:
        return protocol.text(words)
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise SqlError("text that PostgreSQL cannot hold", "22021") from error


def _error(body: bytes) -> SqlError:
    said = protocol.complaint(body)
    return SqlError(said.get("M", "no reason given"), said.get("C", ""), said.get("D", ""), said.get("H", ""))


def _reason(error: OSError | EOFError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer within the time limit"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _array(words: str) -> list[str | None]:
    """Read an array of one dimension.

    >>> _array('{a,NULL,"b \\\\"c\\\\", d"}'), _array("{}")
    (['a', None, 'b "c", d'], [])
    """
    found: list[str | None] = []
    at, end = 1, len(words) - 1
    while at < end:
        if words[at] == '"':
            stop, plain = _quoted(words, at + 1)
            found.append(plain)
        else:
            stop = next((place for place in range(at, end) if words[place] == ","), end)
            found.append(None if words[at:stop] == "NULL" else words[at:stop])
        at = stop + 1
    return found


def _quoted(words: str, at: int) -> tuple[int, str]:
    """Return where a quoted element's comma stands, and its text without quotes and backslashes."""
    letters = []
    while words[at] != '"':
        at += words[at] == "\\"
        letters.append(words[at])
        at += 1
    return at + 1, "".join(letters)


def _numbers(words: str) -> list[int]:
    return [int(each) for each in _array(words) if each is not None]


# By type oid (pg_type.dat), which never change: bool; int8, int2, int4, oid; float4, float8, numeric; json, jsonb; text[], name[]; oid[].
_DECODERS: Final[Mapping[int, Callable[[str], Any]]] = {
    16: lambda cell: cell == "t",
    **dict.fromkeys((20, 21, 23, 26), int),
    **dict.fromkeys((700, 701, 1700), float),
    **dict.fromkeys((114, 3802), json.loads),
    **dict.fromkeys((1009, 1003), _array),
    1028: _numbers,
}
