"""The five kinds of refusal, and the one kind of failure; each says what cannot be done, with which value, and what to do.

A refusal is a person's to mend and never shows a traceback. `code` is stable and English, for scripts; `exit_code` is the command
line's contract.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from howdah.phrase import Phrase, say


class Refusal(Exception):
    """What a person asked for cannot be done, and why; `hint` says what to do instead."""

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: Phrase, hint: Phrase | None = None) -> None:
        super().__init__(str(message))
        self.code = code
        self.message = message
        self.hint = hint


class Failed(Refusal):
    """The operation was begun and did not succeed (exit code 1)."""

    exit_code = 1


class Lacking(Failed):
    """The machine lacked what the operation needs, room, rights, descriptors, memory, a place: no part of it is at fault."""


class Invalid(Refusal):
    """A value or a usage that can never be right (exit code 2)."""

    exit_code = 2


class NotFound(Refusal):
    """No such thing (exit code 3)."""

    exit_code = 3


class Conflict(Refusal):
    """Right in itself, but not beside what is there now (exit code 4)."""

    exit_code = 4


class Unsupported(Refusal):
    """This machine, version or engine cannot do it (exit code 5)."""

    exit_code = 5


class Unavailable(Refusal):
    """Something that is needed is missing or does not answer (exit code 6)."""

    exit_code = 6


_ROOM = say("make room there, then: howdah repair --all")
_OWNER = say("run as the user that owns it, then: howdah repair --all")
_FILES = say("raise the limit of open files (ulimit -n), then: howdah repair --all")
_MEMORY = say("end other programs, or raise the limits of memory and processes (ulimit -a), then: howdah repair --all")
_AWAY = say("move away what lies there, then: howdah repair --all")
_CURES = {
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO), _AWAY),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _OWNER),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), _MEMORY),
    errno.EROFS: say("mount it for writing, then: howdah repair --all"),
    errno.EIO: say("look after that disk, then: howdah repair --all"),
}


def cure(error: OSError) -> Phrase | None:
    """Return what to do about an error of the machine's; None where that is not known."""
    return _CURES.get(error.errno or 0)


def machine_failed(error: OSError, doing: Phrase) -> Lacking | None:
    """Return the failure for what a machine lacks (room, rights, descriptors, memory, or the place, where something else lies) while
    `doing` something; None for any other error.
    """
    todo = cure(error)
    if todo is None:
        return None
    place = error.filename2 or error.filename  # of a rename, where it was to be
    reason = f"{place}: {error.strerror}" if place else error.strerror or type(error).__name__
    return Lacking("machine_failed", say("cannot {doing}: {reason}", doing=doing, reason=reason), todo)
