"""Keeps the translations: `translate.py` gathers every sentence into howdah.pot, brings it into howdah.po and compiles howdah.mo.

A sentence is the first word of a call of `say`, or the help of a command. What is gone from the source goes from the catalogue; nothing
is guessed from what is near. `--check` changes nothing and fails when a sentence lacks its translation or the files are not up to date.
"""

from __future__ import annotations

import io
import string
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "howdah"
LOCALE = SOURCE / "locale"
POT = LOCALE / "howdah.pot"
PO = LOCALE / "ru" / "LC_MESSAGES" / "howdah.po"
MO = PO.with_suffix(".mo")
METHODS = [("**.py", "python"), ("**.html", "jinja2")]
KEYWORDS: dict[str, tuple[int, ...] | None] = {"say": None, "_": None}
HEADING = "# Sentences of Howdah, kept by tools/translate.py."


def gathered() -> Catalog:
    """Return every sentence of the source, sorted, so that the file says the same for the same source."""
    sys.path.insert(0, str(SOURCE.parent))
    from howdah.cli.manual import sentences
    from howdah.cli.tree import tree

    catalog = _empty(None)
    found = extract_from_dir(SOURCE, METHODS, keywords=KEYWORDS)
    places = {str(message): name for name, _, message, _, _ in found if message}
    for sentence in sentences(tree(None)):
        places.setdefault(sentence, "cli (--help)")
    for sentence in sorted(places):
        catalog.add(sentence, locations=[(places[sentence], 0)])
    return catalog


def translated(source: Catalog, before: Catalog) -> Catalog:
    """Return the source's sentences with the translations that are known; a sentence that changed has none."""
    catalog = _empty("ru")
    for message in source:
        if message.id:
            known = before.get(message.id)
            catalog.add(message.id, known.string if known is not None else "", locations=message.locations)
    return catalog


class Plain(Catalog):
    """A catalogue whose heading holds only what a reader of it needs, so that the same sentences make the same files."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """The heading's lines."""
        kept = ("Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Plural-Forms")
        return [(name, value) for name, value in Catalog.mime_headers.__get__(self) if name in kept]


def _empty(locale: str | None) -> Catalog:
    return Plain(locale, project="howdah", header_comment=HEADING, fuzzy=False, charset="utf-8")


def missing(catalog: Catalog) -> list[str]:
    """Return the sentences without a translation, and those whose translation has other placeholders."""
    return [
        str(message.id)
        for message in catalog
        if message.id and (not message.string or fields(str(message.id)) != fields(str(message.string)))
    ]


def fields(text: str) -> set[str]:
    """Return the names of the placeholders.

    >>> sorted(fields("cannot set {name}={value}"))
    ['name', 'value']
    """
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def texts() -> tuple[dict[Path, bytes], Catalog]:
    """Return what each file is to hold, and the catalogue of translations."""
    source = gathered()
    with PO.open("rb") if PO.exists() else io.BytesIO() as file:
        catalog = translated(source, read_po(file, locale="ru"))
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    return {POT: _written(source), PO: _written(catalog), MO: compiled.getvalue()}, catalog


def _written(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    # One line for each sentence, without line numbers: a change shows in a diff, and a moved line does not.
    write_po(out, catalog, width=0, sort_output=False, omit_header=False, include_lineno=False)
    return out.getvalue()


def main(arguments: list[str]) -> int:
    """Write or check the files; exit code 1 when a translation is missing or a file is not up to date."""
    wanted, catalog = texts()
    without = missing(catalog)
    for sentence in without:
        print(f"without translation: {sentence}")
    if arguments == ["--check"]:
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_bytes() != text]
        for path in stale:
            print(f"not up to date: {path.relative_to(ROOT)}")
        return 1 if stale or without else 0
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    print(f"{len(catalog)} sentences, {len(without)} without translation")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
