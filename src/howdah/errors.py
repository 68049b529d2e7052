"""The five kinds of refusal, and the one kind of failure; each says what cannot be done, with which value, and what to do.

A refusal is a person's to mend and never shows a traceback. `code` is stable and English, for scripts; `exit_code` is the command
line's contract.
"""

from __future__ import annotations

from typing import ClassVar

from howdah.phrase import Phrase


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
