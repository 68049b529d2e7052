"""A user's pg_service.conf and passfile as text: what Howdah adds, refreshes and takes away again, and nothing else in them.

What is ours stands below a comment that says so, with the instance's name, its hop and its id; a section without one is somebody else's
and is never touched. Texts are bytes, for a file may hold any, and each keeps its own line ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from howdah.connect import Target, _libpq, service
from howdah.errors import Conflict
from howdah.phrase import say
from howdah.secret import Secret

_MARK = re.compile(rb"# howdah: (?P<label>\S+) (?P<id>\w+)(?: .*)?")
_SECTION = re.compile(rb"\s*\[(?P<name>.*)\]\s*")


@dataclass(frozen=True)
class Owner:
    """Whose a section or a password is: an instance, and one of its hops."""

    label: str
    id: str

    @property
    def mark(self) -> bytes:
        """The comment above what is ours."""
        name = self.label.rpartition("-")[0]
        return f"# howdah: {self.label} {self.id} (`howdah connect {name} --remove-service` takes it away)".encode()

    def owns(self, line: bytes) -> bool:
        """Tell whether a line is this owner's mark."""
        found = _MARK.fullmatch(line.strip())
        return found is not None and (found["label"].decode(), found["id"].decode()) == (self.label, self.id)


def marked_by(name: str, identity: str | None = None) -> Callable[[bytes], bool]:
    """Return how to tell the marks of an instance by its name, and by its id where that is known."""
    labels = {f"{name}-direct".encode(), f"{name}-pooled".encode()}

    def ours(line: bytes) -> bool:
        found = _MARK.fullmatch(line.strip())
        return found is not None and found["label"] in labels and identity in (None, found["id"].decode())

    return ours


# --- pg_service.conf ----------------------------------------------------------------------------------------------------------------


def with_section(text: bytes, owner: Owner, target: Target) -> bytes:
    """Return the service file with the target's section: in the place of an older one of ours, else at the end.

    What somebody added to our section stays in it. Conflict where a section of that name is not ours.
    """
    wanted = [line.encode() for line in service.snippet(target).text.splitlines()]
    lines, end = _lines(text), _end(text)
    place = next((number for number, line in enumerate(lines) if owner.owns(line)), None)
    if place is None:
        if any(_name(line) == owner.label.encode() for line in lines):
            hint = say("rename that section, or take it away, then give the same command again")
            raise Conflict(
                "foreign_section", say("cannot write section {name}: it is there, and not of this instance", name=owner.label), hint
            )
        gap = [b""] if lines and lines[-1].strip() else []
        return _text([*lines, *gap, owner.mark, *wanted], end)
    last = _end_of_section(lines, place)
    keys = {line.partition(b"=")[0] for line in wanted} | {word.encode() for word in _libpq.VARIABLES}
    added = [line for line in lines[place + 1 : last] if not _name(line) and line.partition(b"=")[0].strip() not in keys]
    return _text([*lines[:place], owner.mark, *wanted, *added, *lines[last:]], end)


def without_sections(text: bytes, ours: Callable[[bytes], bool]) -> bytes:
    """Return the service file without the sections below the marks that are `ours`."""
    lines = _lines(text)
    while (place := next((number for number, line in enumerate(lines) if ours(line)), None)) is not None:
        last = _end_of_section(lines, place)
        before = lines[:place]
        if before and not before[-1].strip() and (last == len(lines) or not lines[last].strip()):  # the empty line that we put before it
            before = before[:-1]
        lines = [*before, *lines[last:]]
    return _text(lines, _end(text))


def sections(text: bytes, ours: Callable[[bytes], bool]) -> tuple[str, ...]:
    """Return the names of the sections below the marks that are `ours`."""
    lines = _lines(text)
    following = (_name(line) for mark, line in pairwise(lines) if ours(mark))
    return tuple(name.decode(errors="replace") for name in following if name)


def _name(line: bytes) -> bytes | None:
    found = _SECTION.fullmatch(line)
    return found["name"] if found is not None else None


def _end_of_section(lines: list[bytes], mark: int) -> int:
    """Return where the section below a mark ends: at the next section, or the comment and empty lines that lead to it."""
    start = mark + 2 if mark + 1 < len(lines) and _name(lines[mark + 1]) is not None else mark + 1
    if start == mark + 1:  # the mark stands alone
        return start
    following = next((number for number in range(start, len(lines)) if _name(lines[number]) is not None), len(lines))
    while following > start and (not lines[following - 1].strip() or lines[following - 1].lstrip().startswith(b"#")):
        following -= 1
    return following


# --- the passfile -------------------------------------------------------------------------------------------------------------------


def with_password(text: bytes, owner: Owner, target: Target, password: Secret) -> bytes:
    """Return the passfile with the target's password before all lines: libpq takes the first one that fits.

    Conflict where somebody else's line is for exactly this target, with another password.
    """
    wanted = _libpq.passfile_line(target, password).reveal().encode()
    who = wanted[: _places(wanted)[3] + 1]
    lines = _lines(text)
    if any(owner.owns(mark) and line == wanted for mark, line in pairwise(lines)):
        return text
    lines = _lines(without_passwords(text, owner.owns, lambda line: _same_person(line, who)))
    foreign = [line for line in lines if line.startswith(who)]
    if foreign and foreign[0].rstrip() != wanted:
        where = f"{target.endpoint.host}:{target.endpoint.port}"
        words = say("cannot write the password of {user}: there is another for {where}", user=target.user, where=where)
        raise Conflict("foreign_password", words, say("take its line out of the passfile, then give the same command again"))
    return _text(lines if foreign else [owner.mark, wanted, *lines], _end(text))


def without_passwords(text: bytes, ours: Callable[[bytes], bool], which: Callable[[bytes], bool] = lambda line: True) -> bytes:
    """Return the passfile without the lines below the marks that are `ours`, those that are meant by `which`."""
    lines, kept = _lines(text), list[bytes]()
    skip = False
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else b""
        if skip:
            skip = False
        elif ours(line) and which(below):
            skip = True
        else:
            kept.append(line)
    return _text(kept, _end(text))


def with_new_password(text: bytes, ours: Callable[[bytes], bool], user: str, password: Secret | None) -> bytes:
    """Return the passfile with another password in each line of `user` that is ours, or without these lines (None)."""

    def of_user(line: bytes) -> bool:
        return _field(line, 3) == _libpq.escaped(user).encode()

    if password is None:
        return without_passwords(text, ours, of_user)
    lines = _lines(text)
    for number in range(1, len(lines)):
        if ours(lines[number - 1]) and of_user(lines[number]):
            lines[number] = lines[number][: _places(lines[number])[3] + 1] + _libpq.escaped(password.reveal()).encode()
    return _text(lines, _end(text))


def _same_person(line: bytes, who: bytes) -> bool:
    """Tell whether a line is for the same database and user, wherever they were reached."""
    return (_field(line, 2), _field(line, 3)) == (_field(who, 2), _field(who, 3))


def _places(line: bytes) -> list[int]:
    """Return where the four colons stand that part the fields; a backslash escapes one."""
    return [found.start() for found in re.finditer(rb":", re.sub(rb"\\.", b"xx", line))]


def _field(line: bytes, number: int) -> bytes | None:
    ends = [-1, *_places(line), len(line)]
    return line[ends[number] + 1 : ends[number + 1]] if number + 1 < len(ends) else None


# --- lines --------------------------------------------------------------------------------------------------------------------------


def _end(text: bytes) -> bytes:
    return b"\r\n" if b"\r\n" in text else b"\n"


def _lines(text: bytes) -> list[bytes]:
    """Return the lines without their ends; a carriage return that ends only some of them stays a part of its line."""
    end = _end(text)
    return text.removesuffix(end).split(end) if text else []


def _text(lines: Iterable[bytes], end: bytes) -> bytes:
    return b"".join(_ended(lines, end))


def _ended(lines: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    for line in lines:
        yield line + end
