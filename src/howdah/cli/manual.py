"""The pages that --help shows: usage, what a command does, its words and options, and an example; translated sentence by sentence."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from howdah.phrase import Phrase, say
from howdah.settings import SETTINGS

WIDTH = 100
Speak = Callable[[Any], str]
Row = tuple[str, str]


def page(command: Any, path: str, speak: Speak) -> str:
    """Return the page of a command."""
    arguments, options = _parts(command, "argument"), _parts(command, "option")
    usage = " ".join((path, speak(say("[OPTIONS]")), *(_usage(each) for each in arguments)))
    lines = [
        *_usage_lines(usage, speak),
        *_prose(_say(command.help, speak)),
        *_table(speak(say("Arguments:")), [(_argument(each), _say(each.help, speak)) for each in arguments if each.help]),
        *_table(speak(say("Options:")), [*(_option(each, speak) for each in options), _help_row(speak)]),
        "",
        speak(say("Example:")),
        f"  {command.epilog}",
    ]
    return "\n".join(lines)


def overview(group: Any, path: str, speak: Speak) -> str:
    """Return the page of a group: its commands; for the root also its options and the environment that it reads."""
    rows = [(name, _first(_say(each.help, speak))) for name, each in group.commands.items() if not each.hidden]
    options = [_option(each, speak) for each in _parts(group, "option")]
    lines = [
        *_usage_lines(" ".join((path, speak(say("COMMAND")), "…")), speak),
        *_prose(_say(group.help, speak)),
        *_table(speak(say("Commands:")), rows),
        *_table(speak(say("Options:")), [*options, _help_row(speak)]),
    ]
    if " " not in path:
        lines += _table(speak(say("Environment:")), [(each.name, speak(each.sentence)) for each in SETTINGS])
        lines += ["", speak(say("Each command has its own page: {path} COMMAND --help", path=path))]
    return "\n".join(lines)


def sentences(command: Any) -> Iterator[str]:
    """Return every English sentence of a command and of those below it, for the translators' catalogue."""
    if command.help:
        yield _flat(command.help)
    for part in command.params:
        if part.help:
            yield _flat(part.help)
    for below in getattr(command, "commands", {}).values():
        yield from sentences(below)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _say(text: str | None, speak: Speak) -> str:
    return speak(Phrase(_flat(text))) if text else ""


def _first(text: str) -> str:
    """Return what stands before the first full stop or colon: enough for a list."""
    return re.split(r"[.:] ", text)[0].rstrip(".")


def _parts(command: Any, kind: str) -> list[Any]:
    return [each for each in command.params if each.param_type_name == kind and not getattr(each, "hidden", False)]


def _argument(part: Any) -> str:
    return str(part.metavar or part.name.upper())


def _usage(part: Any) -> str:
    return _argument(part) if part.required else f"[{_argument(part)}]"


def _option(part: Any, speak: Speak) -> Row:
    name = ", ".join(part.opts)
    if not part.is_flag:
        name += f" {part.metavar}"
    said = _say(part.help, speak)
    if part.multiple:
        said += speak(say(" (may be repeated)"))
    elif not part.is_flag and part.default not in (None, ()) and not callable(part.default):
        said += speak(say(" (default {value})", value=f"{part.default:g}" if isinstance(part.default, float) else part.default))
    return name, said


def _help_row(speak: Speak) -> Row:
    return "--help", speak(say("show this page"))


def _usage_lines(usage: str, speak: Speak) -> list[str]:
    return [speak(say("Usage: {usage}", usage=usage)), ""]


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _table(title: str, rows: Iterable[Row]) -> list[str]:
    rows = list(rows)
    if not rows:
        return []
    width = min(34, max(len(name) for name, _ in rows)) + 2
    lines = ["", title]
    for name, text in rows:
        first, *rest = textwrap.wrap(text, WIDTH - width - 2) or [""]
        fits = len(name) < width
        lines += [f"  {name:<{width}}{first}".rstrip()] if fits else [f"  {name}", f"  {'':<{width}}{first}"]
        lines += [f"  {'':<{width}}{line}" for line in rest]
    return lines
