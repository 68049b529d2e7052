"""The outermost door: reads the command line, runs one command, and turns whatever comes out into one line and an exit code.

A person's mistake never shows a traceback. What is nobody's mistake but ours is logged with its traceback, here and nowhere else.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from howdah.cli.screen import Screen, plain, streams
from howdah.errors import Failed, Invalid, NotFound, Refusal, machine_failed
from howdah.language import language, translation
from howdah.phrase import Phrase, say

INTERRUPTED = 130
_NO_MEMORY = ("failed to map segment", "annot allocate memory", "can't start new thread")  # in an ImportError, a RuntimeError


@dataclass(frozen=True)
class Doorway:
    """What every command is handed through Typer's context."""

    screen: Screen
    words: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    asked, rest = _without_json(words)
    screen = Screen(*streams(json=asked), asked, translation("en" if asked else language()))
    try:
        return _guarded(screen, rest)
    except BrokenPipeError:
        _forget_output()
        return 0
    finally:
        _flush()


def _guarded(screen: Screen, words: Sequence[str]) -> int:
    try:
        _run(screen, words)
        screen.progress.stop()
        screen.out.flush()
        return 0
    except Refusal as refusal:
        screen.error(_elsewhere(refusal))
        return refusal.exit_code
    except KeyboardInterrupt:
        screen.error(Failed("interrupted", say("cannot go on: interrupted")))
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (MemoryError, ImportError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
            return _unexpected(screen, error, _ours(error))
        screen.error(Failed("machine_failed", say("cannot go on: there is not enough memory")))
        return Failed.exit_code
    except OSError as error:
        if (failed := machine_failed(error, say("go on"))) is not None:
            screen.error(failed)
            return failed.exit_code
        return _unexpected(screen, error, say("cannot go on: {reason}", reason=_reason(error)))
    except Exception as error:  # noqa: BLE001 -- the outermost door: logged with its traceback, told in one line
        return _unexpected(screen, error, _ours(error))


def _ours(error: Exception) -> Phrase:
    return say("cannot go on: an error of howdah itself ({name})", name=type(error).__name__)


def _run(screen: Screen, words: Sequence[str]) -> None:
    """Parse and run; Typer's own refusals become ours, its own exits end here."""
    for number, word in enumerate(words, 1):
        if any("\ud800" <= c <= "\udfff" for c in word):
            raise Invalid("usage", say("cannot read word {number} of the command line: it is not UTF-8", number=number))
    import typer

    from howdah.cli.tree import tree
    from howdah.cli.usage import REFUSED, refusal

    command = tree(_first(words))
    said = "howdah " + shlex.join("".join(c if c.isprintable() else " " for c in word) for word in words)
    try:
        with command.make_context("howdah", list(words), obj=Doorway(screen, said)) as context:
            command.invoke(context)
    except typer.Exit:
        return
    except REFUSED as error:
        raise refusal(error) from None


def _without_json(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Take --json out wherever it stands as a word of its own, before `--`."""
    end = words.index("--") if "--" in words else len(words)
    return "--json" in words[:end], [*(word for word in words[:end] if word != "--json"), *words[end:]]


def _first(words: Sequence[str]) -> str | None:
    return words[0] if words and not words[0].startswith("-") else None


def _elsewhere(refusal: Refusal) -> Refusal:
    """Add to "no such instance" whose the machine's own instances are, when they are not looked at."""
    if refusal.code != "no_such_instance":
        return refusal
    from howdah.cli.look import other_home

    with suppress(Refusal):
        if (other := other_home()) is not None:
            hint = say("{hint}; {other}", hint=refusal.hint, other=other) if refusal.hint is not None else other
            return NotFound(refusal.code, refusal.message, hint)
    return refusal


def _unexpected(screen: Screen, error: Exception, message: Phrase) -> int:
    written = _log(error)
    hint = say("the traceback is in {path}", path=written) if written is not None else None
    screen.error(Failed("internal", message, hint))
    return 1


def _reason(error: OSError) -> str:
    return plain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _log(error: Exception) -> Path | None:
    """Append the traceback to howdah.log, readable by its owner alone; None where there is no place for it."""
    import time
    import traceback

    from howdah import settings
    from howdah.core.logs import shares

    with suppress(OSError, Refusal):
        directory = settings.home() / "log"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "howdah.log"
        if path.exists() and path.lstat().st_size > shares(settings.log_bytes()).howdah:
            path.rename(directory / "howdah.log.1")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        story = f"{stamp} internal\n{''.join(traceback.format_exception(error))}\n"
        try:
            os.write(descriptor, story.encode(errors="backslashreplace"))
        finally:
            os.close(descriptor)
        return path
    return None


def _forget_output() -> None:
    """Nobody reads any more: let what is still buffered go nowhere, so that the interpreter's own last flush stays silent."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
