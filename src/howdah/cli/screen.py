"""Where answers go: JSON or lines on standard output, everything else on standard error, in the reader's language.

With `--json` nothing but the answer or the error is written. Control characters of others (a log, a server's words) never reach a
terminal. What a closed pipe cannot take is dropped without a word: the work itself goes on.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from howdah.cli.progress import Progress
from howdah.errors import Refusal
from howdah.phrase import Phrase, say

COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}
_COLOURING = re.compile(r"(\x1b\[[0-9;]*m)")

Text = str | Phrase


def plain(text: str) -> str:
    r"""Return a text with its control characters spelled out; tabs become blanks.

    >>> print(plain("a\x1b[2Jb\tc"))
    a\x1b[2Jb c
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c == "\t" else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def spelled(value: object, indent: int | None = None) -> str:
    r"""Return a value as JSON that people can read, and that commands no terminal: what does not print is escaped, also beyond ASCII.

    >>> print(spelled(["é", "\x9b2J", "\u202e"]))
    ["é", "\u009b2J", "\u202e"]
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub(r"[^ -~\n]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


@dataclass
class Screen:
    """The two streams, the language, and whether people or programs read them."""

    out: TextIO
    err: TextIO
    json: bool
    translate: Callable[[str], str]
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(None if self.json else self.err, self.text)

    @property
    def asks(self) -> bool:
        """Whether a person sits there who can be asked."""
        return not self.json and sys.stdin is not None and sys.stdin.isatty() and self.err.isatty()

    def text(self, text: Text) -> str:
        """Return a phrase in the reader's language; a plain string is said as it is."""
        return text.translated(self.translate) if isinstance(text, Phrase) else text

    def paint(self, text: Text, colour: str, stream: TextIO | None = None) -> str:
        """Return a text in a colour, where a terminal shows it and nobody objects (NO_COLOR, https://no-color.org)."""
        said = plain(self.text(text))
        if not _coloured(stream or self.out):
            return said
        return f"\x1b[{COLOURS[colour]}m{said}\x1b[0m"

    def answer(self, value: Mapping[str, Any] | Sequence[Any], lines: Callable[[], Iterable[Text]]) -> None:
        """Write the answer of a command: `value` as JSON, or the lines for people."""
        self.progress.stop()
        if self.json:
            self.out.write(spelled(value, indent=2) + "\n")
        else:
            for line in lines():
                self.line(line)
        self.out.flush()

    def line(self, text: Text) -> None:
        """Write one line of an answer for people."""
        self.out.write(self._clean(self.text(text), self.out) + "\n")

    def note(self, text: Text) -> None:
        """Tell people something that is not the answer."""
        if not self.json:
            self.progress.stop()
            self._tell(self._clean(self.text(text), self.err))

    def error(self, refusal: Refusal) -> None:
        """Write what went wrong as the last line of standard error: an object, or a sentence."""
        self.progress.stop()
        if self.json:
            hint = str(refusal.hint) if refusal.hint is not None else None
            self._tell(spelled({"code": refusal.code, "message": str(refusal.message), "hint": hint}))
            return
        first, *rest = self.text(refusal.message).splitlines() or [""]
        for line in rest:
            self._tell(f"  {plain(line)}")
        hint = f"; {plain(self.text(refusal.hint))}" if refusal.hint is not None else ""
        opening = self.paint(say("error:"), "red", self.err)
        self._tell(f"{opening} {plain(first)}{hint}")

    def _tell(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self.err.write(line + "\n")
            self.err.flush()

    def _clean(self, text: str, stream: TextIO) -> str:
        if not _coloured(stream):
            return plain(text)
        return "".join(part if _COLOURING.fullmatch(part) else plain(part) for part in _COLOURING.split(text))


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def streams(*, json: bool) -> tuple[TextIO, TextIO]:
    """Return standard output and error, able to write any text; a closed one swallows what is written.

    JSON is UTF-8 whatever the locale says (RFC 8259 §8.1).
    """
    return _able(sys.stdout, json=json), _able(sys.stderr, json=json)


def _able(stream: TextIO | None, *, json: bool) -> TextIO:
    if stream is None:  # closed by the shell: >&-
        return Path(os.devnull).open("w")
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", encoding="utf-8" if json else None)
    return stream
