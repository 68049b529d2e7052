"""The page of errors: every refusal that stands in the source, found by reading it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pages.markdown import code, page, table

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "howdah"
EXITS = {"Failed": 1, "Refused": 1, "Invalid": 2, "NotFound": 3, "Conflict": 4, "Unsupported": 5, "Unavailable": 6, "Interrupted": 130}
TITLES = {
    1: "the operation failed",
    2: "wrong usage, or a value that can never be right",
    3: "no such thing",
    4: "right in itself, but not beside what is there now",
    5: "this machine, version or engine cannot do it",
    6: "something that is needed is missing or does not answer",
    130: "Ctrl-C: what was begun goes on by itself",
}
_SHELL_REFUSAL = re.compile(r'refuse (\w+) "((?:[^"\\]|\\.)*)"\s*(?:\\\s*)?"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, order=True)
class Told:
    """One refusal as it stands in the source."""

    exit: int
    code: str
    message: str
    hint: str


def errors() -> str:
    """Every refusal that stands in the source, by exit code."""
    # What verify cannot look at becomes a finding, never an error
    sources = [path for path in sorted(SOURCE.rglob("*.py")) if "verify" not in path.parts]
    found = {told for path in sources for told in refusals(path.read_text())} | set(_launcher())
    parts: list[Iterable[str] | str] = [
        "An error is the last line on standard error; with `--json` it is an object `{code, message, hint}`. Codes are stable. Words in "
        "braces or after `$` stand for values; `…` for what a server or the system said.",
        table(("exit code", ""), [("0", "done"), *((str(key), title) for key, title in TITLES.items())]),
    ]
    for number, title in TITLES.items():
        rows = [(code(told.code), told.message, told.hint) for told in sorted(found) if told.exit == number]
        if rows:
            parts += [f"## {number}: {title}", table(("code", "message", "what to do"), rows)]
    return page("Errors", *parts)


def refusals(text: str) -> Iterator[Told]:
    """Return the refusals that a module makes.

    >>> list(refusals('raise NotFound("gone", say("cannot find {name}", name=n), say("look"))'))
    [Told(exit=3, code='gone', message='cannot find {name}', hint='look')]
    """
    tree = ast.parse(text)
    scopes = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in EXITS and call.args):
            continue
        scope = next((each for each in reversed(scopes) if call in ast.walk(each)), tree)
        words = [_words(argument, scope) for argument in (*call.args[1:3], *(key.value for key in call.keywords))]
        for name in _codes(call.args[0]):
            yield Told(EXITS[call.func.id], name, *(*words, "", "")[:2])


def _codes(node: ast.expr) -> list[str]:
    """Return the codes that a first argument may be; one that is passed on from elsewhere stands there already."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):  # the policy's kind
        return [f"{kind}{_tail(node)}" for kind in ("managed", "refused")]
    return []


def _tail(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def _words(node: ast.expr, scope: ast.AST) -> str:
    """Return the sentence that an argument is: said there, or assigned to a name in the same function."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
        first = node.args[0]
        return str(first.value) if isinstance(first, ast.Constant) else "…"
    if isinstance(node, ast.IfExp):
        either = dict.fromkeys((_words(node.body, scope), _words(node.orelse, scope)))
        return ", or: ".join(each for each in either if each)
    if isinstance(node, ast.Name):
        said = [_words(value, scope) for value in _assigned(node.id, scope) if not isinstance(value, ast.Name)]
        return ", or: ".join(dict.fromkeys(each for each in said if each)) or "…"
    return "" if isinstance(node, ast.Constant) else "…"


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for each in ast.walk(scope):
        if isinstance(each, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in each.targets):
            yield each.value


def _launcher() -> Iterator[Told]:
    """Return what the clone's launcher refuses before any Python runs."""
    for name, message, hint in _SHELL_REFUSAL.findall((ROOT / "tools" / "environment.sh").read_text()):
        yield Told(6, name, message, hint)
