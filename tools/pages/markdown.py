"""Markdown, as the pages that are written from the program need it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MADE = "<!-- written by tools/reference.py from the program itself; do not edit -->\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table.

    >>> table(("a",), [("x|y",)])
    ['| a |', '|---|', '| x\\\\|y |']
    """
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in cells)]


def page(title: str, *parts: Iterable[str] | str) -> str:
    """Return a page with its note of origin."""
    lines = [f"# {title}", "", MADE]
    for part in parts:
        lines += [*([part] if isinstance(part, str) else part), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def code(text: str) -> str:
    """Return a text as code, also where it is empty."""
    return f"`{text}`" if text else "`''`"
