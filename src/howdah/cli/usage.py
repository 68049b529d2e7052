"""What Typer refuses, in our words: one sentence that says what cannot be understood, and where to read on."""

from __future__ import annotations

from typing import Any, Final

import typer

from howdah.cli.screen import plain
from howdah.errors import Invalid
from howdah.phrase import Phrase, say

# ClickException, of whichever click this Typer stands on: an installed one, or a copy of its own (0.26 and newer).
REFUSED: Final[type[Exception]] = typer.BadParameter.__mro__[2]


def refusal(error: Any) -> Invalid:
    """Return our refusal for an exception of click's; told apart by its attributes, for click may be a part of Typer or not."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "howdah"
    return Invalid("usage", _message(error, path), _hint(error, path))


def _message(error: Any, path: str) -> Phrase:
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return say("cannot understand option {option} of {path}", option=plain(error.option_name), path=path)
    if kind == "BadOptionUsage":
        return say("cannot use option {option}: {problem}", option=plain(error.option_name), problem=_value_problem(error))
    if kind == "MissingParameter" and error.param is not None:
        return say("cannot run {path}: {word} is missing", path=path, word=_name(error.param))
    if kind == "BadParameter" and error.param is not None:
        return say("cannot use this value for {word}: {problem}", word=_name(error.param), problem=_problem(error))
    if "extra argument" in str(error.message):
        return say("cannot run {path}: there are too many words", path=path)
    return say("cannot understand the command: {problem}", problem=plain(str(error.message)))


def _hint(error: Any, path: str) -> Phrase:
    if near := getattr(error, "possibilities", None):
        return say("did you mean {near}?", near=", ".join(sorted(near)))
    return say("see {path} --help", path=path)


def _value_problem(error: Any) -> Phrase:
    return say("it takes no value") if "does not take" in str(error.message) else say("its value is missing")


def _problem(error: Any) -> Phrase:
    """Say what was expected, from the parameter itself."""
    choices = _choices(error.param)
    if choices:
        return say("expected one of {choices}", choices=", ".join(choices))
    return say("expected a number")


def _choices(param: Any) -> tuple[str, ...]:
    metavar = str(param.metavar or "")
    return tuple(metavar.split("|")) if "|" in metavar else ()


def _name(param: Any) -> str:
    return str(param.opts[0]) if param.param_type_name == "option" else str(param.metavar or param.name.upper())
