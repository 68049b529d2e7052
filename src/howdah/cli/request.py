"""One command as it was asked: who asks, how long to wait, what is agreed to beforehand; and how it speaks with the verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from howdah import settings
from howdah.cli.screen import Screen, Text
from howdah.core.instance import Hold
from howdah.errors import Failed, Invalid
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    from howdah.secret import Secret
    from howdah.service.caller import Caller, Done, Question
    from howdah.service.reading import Reading
    from howdah.service.verbs import Service

NAMED_SESSIONS = 10
LONGEST_WAIT = 86_400.0
_LONGEST_PASSWORD = 4096  # bytes of a line; what is longer is refused without being read


@dataclass(frozen=True)
class Request:
    """A command with the options that many commands share."""

    screen: Screen
    words: str  # the command line, which never holds a secret
    yes: bool = False
    waits: bool = True
    patience: float = 60.0
    hold: Hold = field(default_factory=Hold)

    @cached_property
    def home(self) -> Path:
        """The directory of all state."""
        return settings.home()

    @cached_property
    def service(self) -> Service:
        """The verbs over that state."""
        from howdah import compose

        settings.log_bytes()  # one that cannot be right is refused before anything has begun, like every setting
        return compose.service(self.home, trash_seconds=settings.trash_seconds())

    @cached_property
    def reading(self) -> Reading:
        """The verbs that only look at it; it is left as it is, also where it is not there."""
        from howdah import compose

        return compose.reading(self.home)

    @cached_property
    def caller(self) -> Caller:
        """Who asks, for the verbs."""
        from howdah.service.caller import Caller

        for seconds in (self.patience, self.hold.seconds):
            if not 0 <= seconds <= LONGEST_WAIT:
                raise Invalid("usage", say("cannot wait {seconds} s: expected 0 to 86400", seconds=f"{seconds:g}"))
        return Caller(_actor(), self.words, self._confirm, self.screen.progress.tell, self.waits, self.patience, self.hold)

    def agrees(self, offer: Phrase) -> bool:
        """Tell whether something that is offered is taken, by --yes or by an answer; where nobody can be asked it is not."""
        if self.yes or not self.screen.asks:
            return self.yes
        return self._answered([offer], say("do so? [y/N]"))

    def _answered(self, lines: Iterable[Text], prompt: Phrase) -> bool:
        for line in lines:
            self.screen.note(line)
        self.screen.err.write(self.screen.text(prompt) + " ")
        self.screen.err.flush()
        return _typed() in ("y", "yes", "д", "да")

    def _confirm(self, question: Question) -> None:
        """Return when agreed, by --yes or by an answer; refuse where nobody can be asked."""
        if self.yes:
            return
        if not self.screen.asks:
            message = say("cannot go on unasked: {question}{sessions}", question=question.text, sessions=_in_brief(question))
            raise Invalid("needs_yes", message, say("add --yes to agree"))
        if not self._answered([question.text, *_named(question)], say("go on? [y/N]")):
            raise Failed("not_agreed", say("cannot go on: it was not agreed to"))

    def password(self, *, from_stdin: bool) -> Secret | None:
        """Return the password that stands on standard input, or None: one is to be made."""
        return read_password() if from_stdin else None

    def finish(self, done: Done, lines: Iterable[Text]) -> None:
        """Write what became of a change; a password that was made is shown here, once, and remembered as shown."""
        from howdah.cli import pages, shapes

        passfile = self.service.host.passfile(done.instance, done.password[0]) if done.password is not None else None
        self.screen.answer(shapes.change(done, passfile), lambda: (*lines, *pages.after(self.screen, done, passfile, waits=self.waits)))
        self.service.password_shown(done)


def read_password() -> Secret:
    """Read one line without its newline from standard input, as a password; a terminal does not show what is typed."""
    from howdah.core.instance import check_password

    if sys.stdin is None:
        raise Invalid("invalid_password", say("cannot read a password: standard input is closed"))
    if sys.stdin.isatty():
        from getpass import getpass

        return check_password(getpass("password: "))
    line = sys.stdin.buffer.readline(_LONGEST_PASSWORD + 1)
    if len(line) > _LONGEST_PASSWORD:
        raise Invalid("invalid_password", say("cannot use this password: it is longer than {limit} bytes", limit=_LONGEST_PASSWORD))
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Invalid("invalid_password", say("cannot use this password: it is not UTF-8")) from None
    if not line:
        hint = say("give it one line, or leave --password-stdin out and a password is made")
        raise Invalid("invalid_password", say("cannot read a password: standard input is empty"), hint)
    return check_password(text.removesuffix("\n"))


def _typed() -> str:
    """Return the answer to a question; Ctrl-C is an answer too, for nothing has begun yet."""
    try:
        return sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        return ""


def _actor() -> str:
    import pwd

    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        own = f"uid {os.getuid()}"
    by = os.environ.get("SUDO_USER", "")
    return f"{own} ({by})" if by and by.isprintable() and by != own else own


def _in_brief(question: Question) -> Phrase | str:
    """Say how many sessions there are and whose, within one line."""
    if not question.sessions:
        return ""
    names = ", ".join(str(session) for session in question.sessions[:NAMED_SESSIONS])
    more = len(question.sessions) - NAMED_SESSIONS
    and_more = say(" and {count} more", count=more) if more > 0 else ""
    return say("; sessions: {count}: {names}{more}", count=len(question.sessions), names=names, more=and_more)


def _named(question: Question) -> list[Text]:
    if not question.sessions:
        return []
    more = len(question.sessions) - NAMED_SESSIONS
    rest: list[Text] = [say("  and {count} more", count=more)] if more > 0 else []
    return [
        say("sessions: {count}", count=len(question.sessions)),
        *(f"  {session.hop}  {session}" for session in question.sessions[:NAMED_SESSIONS]),
        *rest,
    ]
